"""Writes the Grafana dashboards of k8s/monitoring from the tables below.

A panel is (title, unit, [(query, legend)]); its kind is `stat` if the unit begins with `=`. `$of(...)` keeps the series of processes
of the chosen group, since only Raft's own metrics name it. ci/monitoring.py checks the queries.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "k8s/monitoring/dashboards"
# Grafana's grid has 24 columns.
WIDTH, HEIGHT, STAT_WIDTH, STAT_HEIGHT = 12, 8, 4, 4

NS = 'namespace=~"$namespace"'
ONE = f'{NS}, instance=~"$instance"'
LEADS = f"* on (namespace, job, instance) group_left (group) (flotilla_raft_is_leader{{{NS}}} == 1)"
LED = f'* on (namespace, job, instance) group_left (group) (flotilla_raft_is_leader{{{NS}, group="$group"}} == 1)'
# As clients brought them; what supernodes send on has names of its own.
FILES = 'op=~"put|get|head|delete|patch|copy"'


def rate(name: str, where: str = NS) -> str:
    return f"rate({name}{{{where}}}[$__rate_interval])"


def quantile(q: float, name: str, by: str, where: str = NS) -> str:
    return f"histogram_quantile({q}, sum by ({by}, le) ({rate(f'{name}_bucket', where)}))"


# What a process holds, of nodes and supernodes alike.
HELD = [
    ("Resident memory", "bytes", [(f"process_resident_memory_bytes{{{ONE}}}", "{{instance}}")]),
    ("Allocated beside caches", "bytes", [
        (f'flotilla_allocator_bytes{{{ONE}, kind="allocated"}} - ignoring (kind) flotilla_database_memory_bytes{{{ONE}, kind="cache"}}'
         f' - ignoring (kind) (flotilla_cache_bytes{{{ONE}}} or ignoring (kind) 0 * flotilla_allocator_bytes{{{ONE}, kind="allocated"}})', "{{instance}}")]),
    ("Database in memory", "bytes", [(f"flotilla_database_memory_bytes{{{ONE}}}", "{{instance}} {{kind}}")]),
    ("Open files", "short", [(f"process_open_fds{{{ONE}}}", "{{instance}}")]),
]

OVERVIEW = [
    ("Processes that are measured", "=short", [(f"count(flotilla_build_info{{{NS}}})", "")]),
    ("Not ready", "=short", [(f"count(max by (namespace, job, instance) (flotilla_not_ready{{{NS}}}) == 1) or vector(0)", "")]),
    ("Groups with a leader", "=short", [(f"count(max by (namespace, group) (flotilla_raft_is_leader{{{NS}}}) == 1)", "")]),
    ("Clusters not heard", "=short", [(f'max(flotilla_clusters{{{NS}, state=~"silent|foreign"}})', "")]),
    ("Chunks without a copy", "=short", [(f'sum(flotilla_chunks{{{NS}, state="missing"}} {LEADS})', "")]),
    ("Chunks with too few", "=short", [(f'sum(flotilla_chunks{{{NS}, state="short"}} {LEADS})', "")]),
    ("Requests for files, by status", "reqps", [(f"sum by (code) ({rate('flotilla_requests_total', f'{NS}, {FILES}')})", "{{code}}")]),
    ("99 of 100 take less, by operation", "s", [(quantile(0.99, "flotilla_request_seconds", "op", f"{NS}, {FILES}"), "{{op}}")]),
    ("Bytes of bodies", "Bps", [(f"sum by (dir) ({rate('flotilla_body_bytes_total', f'{NS}, {FILES}')})", "{{dir}}")]),
    ("Waiting, by cluster", "short", [(f"sum by (cluster) (flotilla_queue_depth{{{NS}}})", "{{cluster}}")]),
    ("Refused", "reqps", [(f"sum by (why) ({rate('flotilla_refused_total')})", "{{why}}")]),
    ("Elections", "short", [(f"max by (group) (increase(flotilla_elections_total{{{NS}}}[$__rate_interval]))", "{{group}}")]),
    ("Space that is left", "percentunit", [
        (f'flotilla_disk_bytes{{{NS}, kind="free"}} / ignoring (kind) flotilla_disk_bytes{{{NS}, kind="total"}}', "{{instance}}")]),
    ("Alerts", "short", [(f'count by (alertname, severity) (ALERTS{{{NS}, alertname=~"Flotilla.*", alertstate="firing"}})', "{{alertname}}")]),
    ("Revisions", "short", [(f"count by (rev) (flotilla_build_info{{{NS}}})", "{{rev}}")]),
    ("Not ready, and why", "short", [(f"sum by (instance, reason) (flotilla_not_ready{{{NS}}}) > 0", "{{instance}} {{reason}}")]),
]

SUPERNODE = [
    ("Let through, by cluster and why", "reqps", [(f"sum by (cluster, why) ({rate('flotilla_routed_total', ONE)})", "{{cluster}} {{why}}")]),
    ("Refused, by code and why", "reqps", [(f"sum by (code, why) ({rate('flotilla_refused_total', ONE)})", "{{code}} {{why}}")]),
    ("Waiting", "short", [(f"sum by (cluster) (flotilla_queue_depth{{{ONE}}})", "{{cluster}}")]),
    ("Bytes that waiting requests announce", "bytes", [(f"sum by (cluster) (flotilla_queue_bytes{{{ONE}}})", "{{cluster}}")]),
    ("Waited", "s", [
        (quantile(0.5, "flotilla_queue_wait_seconds", "cluster", ONE), "{{cluster}} median"),
        (quantile(0.99, "flotilla_queue_wait_seconds", "cluster", ONE), "{{cluster}} 99 of 100")]),
    ("Credits", "short", [(f"sum by (cluster, kind) (flotilla_credits{{{ONE}}})", "{{cluster}} {{kind}}")]),
    ("Taken from other queues", "reqps", [(f"sum by (from, to) ({rate('flotilla_stolen_total', ONE)})", "{{from}} to {{to}}")]),
    ("Claims", "ops", [(f"sum by (result) ({rate('flotilla_claims_total', ONE)})", "{{result}}")]),
    ("Tickets", "short", [(f"sum by (state) (flotilla_tickets{{{NS}}} * on (namespace, job, instance) group_left () (flotilla_raft_is_leader{{{NS}}} == 1))", "{{state}}")]),
    ("What became of tickets", "ops", [(f"sum by (how) ({rate('flotilla_tickets_total', ONE)})", "{{how}}")]),
    ("Clusters", "short", [(f"max by (state) (flotilla_clusters{{{ONE}}})", "{{state}}")]),
    ("Members", "short", [(f'sum by (standing) (flotilla_members{{{NS}}} * on (namespace, job, instance) group_left () (flotilla_raft_is_leader{{{NS}, group="supernodes"}} == 1))', "{{standing}}")]),
    ("Directory: entries not applied", "short", [(f'flotilla_raft_last_log_index{{{ONE}, group="supernodes"}} - flotilla_raft_applied_index{{{ONE}, group="supernodes"}}', "{{instance}}")]),
    ("Who leads", "short", [(f'flotilla_raft_is_leader{{{NS}, group="supernodes"}}', "{{instance}}")]),
    ("Space that is left", "percentunit", [
        (f'flotilla_disk_bytes{{{ONE}, kind="free"}} / ignoring (kind) flotilla_disk_bytes{{{ONE}, kind="total"}}', "{{instance}}")]),
    *HELD,
]

CLUSTER = [
    ("Who leads", "short", [('flotilla_raft_is_leader{%s, group="$group"}' % NS, "{{instance}}")]),
    ("Term and elections", "short", [
        ('max(flotilla_raft_term{%s, group="$group"})' % NS, "term"),
        ('max(increase(flotilla_elections_total{%s, group="$group"}[$__rate_interval]))' % NS, "elections")]),
    ("Entries behind the group", "short", [
        ('scalar(max(flotilla_raft_last_log_index{%s, group="$group"})) - flotilla_raft_applied_index{%s, group="$group"}' % (NS, NS), "{{instance}}")]),
    ("Entries in the log", "short", [
        ('flotilla_raft_last_log_index{%s, group="$group"} - flotilla_raft_purged_index{%s, group="$group"}' % (NS, NS), "{{instance}}")]),
    ("Members", "short", [(f"sum by (standing) (flotilla_members{{{NS}}} {LED})", "{{standing}}")]),
    ("Chunks short of copies", "short", [(f'sum by (state) (flotilla_chunks{{{NS}, state=~"short|missing"}} {LED})', "{{state}}")]),
    ("Copies on disks", "short", [(f'sum by (state) ($of(flotilla_chunks{{{NS}, state=~"ok|surplus|garbage|corrupt"}}))', "{{state}}")]),
    ("Damaged copies that were told", "short", [(f"sum(flotilla_corrupt_copies_told{{{NS}}} {LED})", "copies")]),
    ("Tasks", "short", [(f"sum by (kind, state) (flotilla_tasks{{{NS}}} {LED})", "{{kind}} {{state}}")]),
    ("Copies named and dropped", "ops", [
        (f"sum($of({rate('flotilla_replicas_added_total')}))", "named"), (f"sum($of({rate('flotilla_replicas_dropped_total')}))", "dropped")]),
    ("Copied, by link", "Bps", [(f"sum by (from, to) ($of({rate('flotilla_transfer_bytes_total')}))", "{{from}} to {{to}}")]),
    ("Copies and failures, by link", "ops", [
        (f"sum by (from, to) ($of({rate('flotilla_transfers_total')}))", "{{from}} to {{to}}"),
        (f"sum by (from, to) ($of({rate('flotilla_transfer_failures_total')}))", "{{from}} to {{to}} failed")]),
    ("Credits", "short", [(f"sum(flotilla_credits_total{{{NS}}} {LED})", "in all"), (f"max(flotilla_credits_strain{{{NS}}} {LED})", "strain")]),
    ("How long small requests take alone", "s", [(f"max by (kind) (flotilla_credits_base_seconds{{{NS}}} {LED})", "{{kind}}")]),
    ("What goes", "ops", [
        (f"sum($of({rate('flotilla_purge_marked_total')}))", "chunks marked"), (f"sum($of({rate('flotilla_purged_total')}))", "copies unlinked"),
        (f"sum($of({rate('flotilla_reclaimed_segments_total')}))", "segments reclaimed")]),
    ("Homes", "ops", [
        (f"sum($of({rate('flotilla_homes_closed_total')}))", "closed"), (f"sum($of({rate('flotilla_homes_released_total')}))", "released")]),
]

NODE = [
    ("Requests, by operation and status", "reqps", [(f"sum by (op, code) ({rate('flotilla_requests_total', ONE)})", "{{op}} {{code}}")]),
    ("99 of 100 take less", "s", [(quantile(0.99, "flotilla_request_seconds", "op", ONE), "{{op}}")]),
    ("Bytes of bodies", "Bps", [(f"sum by (op, dir) ({rate('flotilla_body_bytes_total', ONE)})", "{{op}} {{dir}}")]),
    ("Bytes of bodies in memory", "bytes", [(f"flotilla_inflight_bytes{{{ONE}}}", "{{instance}}")]),
    ("Syncs", "ops", [(f"sum by (store) ({rate('flotilla_syncs_total', ONE)})", "{{store}}")]),
    ("99 of 100 syncs take less", "s", [(quantile(0.99, "flotilla_sync_seconds", "store", ONE), "{{store}}")]),
    ("Disk", "bytes", [(f"flotilla_disk_bytes{{{ONE}}}", "{{instance}} {{kind}}")]),
    ("Copies", "short", [(f'flotilla_chunks{{{ONE}, state=~"ok|surplus|garbage|corrupt"}}', "{{instance}} {{state}}")]),
    ("Volumes", "short", [(f"flotilla_volumes{{{ONE}}}", "{{instance}} {{state}}"), (f"flotilla_volume_chunks{{{ONE}}}", "{{instance}} chunks")]),
    ("Bytes in volumes", "bytes", [(f"flotilla_volume_bytes{{{ONE}}}", "{{instance}} {{kind}}")]),
    ("Reads that the cache answers", "percentunit", [
        (f"sum by (instance) ({rate('flotilla_cache_hits_total', ONE)}) / (sum by (instance) ({rate('flotilla_cache_hits_total', ONE)}) + sum by (instance) ({rate('flotilla_cache_misses_total', ONE)}))", "{{instance}}")]),
    ("Cache", "bytes", [(f"flotilla_cache_bytes{{{ONE}}}", "{{instance}}")]),
    ("Processors in use", "percentunit", [(f"flotilla_cpu_busy{{{ONE}}}", "{{instance}}")]),
    ("Memory", "bytes", [(f"flotilla_memory_bytes{{{ONE}}}", "{{instance}} {{kind}}")]),
    *HELD,
    ("Entries not applied", "short", [(f"flotilla_raft_last_log_index{{{ONE}}} - flotilla_raft_applied_index{{{ONE}}}", "{{instance}}")]),
    ("Age of the process", "s", [(f"time() - flotilla_start_time_seconds{{{ONE}}}", "{{instance}}")]),
    ("Not ready, and why", "short", [(f"flotilla_not_ready{{{ONE}}}", "{{instance}} {{reason}}")]),
]

# name: (title, panels, variables beside the data source and the namespace)
DASHBOARDS = {
    "overview": ("Flotilla: overview", OVERVIEW, {}),
    "supernode": ("Flotilla: supernode", SUPERNODE, {"instance": "label_values(flotilla_clusters{%s}, instance)" % NS}),
    "cluster": ("Flotilla: cluster", CLUSTER, {"group": 'label_values(flotilla_raft_is_leader{%s, group!="supernodes"}, group)' % NS}),
    "node": ("Flotilla: node", NODE, {"instance": "label_values(flotilla_inflight_bytes{%s}, instance)" % NS}),
}


def spelled(query: str) -> str:
    """Writes `$of(...)` out."""
    kept = f'{{{NS}, group="$group"}}'
    while (at := query.find("$of(")) >= 0:
        end, depth = at + 4, 1
        while depth:
            depth += {"(": 1, ")": -1}.get(query[end], 0)
            end += 1
        inner = query[at + 4 : end - 1]
        query = f"{query[:at]}{inner} and on (namespace, job, instance) flotilla_raft_is_leader{kept}{query[end:]}"
    return query


def variable(name: str, query: str) -> dict:
    every = name != "group"
    return {
        "name": name, "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"}, "query": query, "refresh": 2,
        "sort": 1, "multi": every, "includeAll": every, **({"allValue": ".*"} if every else {}),
    }


def panel(number: int, title: str, unit: str, queries: list, at: tuple[int, int]) -> dict:
    stat = unit.startswith("=")
    width, height = (STAT_WIDTH, STAT_HEIGHT) if stat else (WIDTH, HEIGHT)
    targets = [
        {"refId": chr(ord("A") + n), "expr": spelled(query), "legendFormat": legend or "__auto"}
        for n, (query, legend) in enumerate(queries)
    ]
    return {
        "id": number, "title": title, "type": "stat" if stat else "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": at[0], "y": at[1], "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit.removeprefix("="), **({} if stat else {"min": 0})}, "overrides": []},
        "targets": targets,
    }


def panels(table: list) -> list[dict]:
    laid, x, y, row = [], 0, 0, 0
    for number, (title, unit, queries) in enumerate(table, 1):
        stat = unit.startswith("=")
        width, height = (STAT_WIDTH, STAT_HEIGHT) if stat else (WIDTH, HEIGHT)
        if row and (x + width > 24 or height != row):
            x, y = 0, y + row
        laid.append(panel(number, title, unit, queries, (x, y)))
        x, row = x + width, height
    return laid


def dashboard(name: str) -> str:
    title, table, own = DASHBOARDS[name]
    queries = {"namespace": "label_values(flotilla_build_info, namespace)"} | own
    document = {
        "uid": f"flotilla-{name}", "title": title, "tags": ["flotilla"], "schemaVersion": 39, "version": 1, "editable": True,
        "refresh": "30s", "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["flotilla"], "title": "Flotilla", "asDropdown": True, "keepTime": True}],
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"}, *(variable(*entry) for entry in queries.items())]},
        "panels": panels(table),
    }
    return json.dumps(document, indent=1) + "\n"


def stale(found: dict[str, str]) -> list[str]:
    """Gives the files, of these by their names, that are not what the tables make, or are missing."""
    wanted = {f"{name}.json": dashboard(name) for name in DASHBOARDS}
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def write() -> None:
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard(name))
