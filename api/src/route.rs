//! Route strings, each written once.

/// Files: `PUT|GET|HEAD|DELETE /v1/files/{bucket}/{key}`, list: `GET /v1/files/{bucket}`.
pub const FILES: &str = "/v1/files";
/// Buckets: `PUT /v1/buckets/{bucket}`, list: `GET /v1/buckets`.
pub const BUCKETS: &str = "/v1/buckets";
/// Keys of principals: `POST|DELETE /v1/keys/{name}`, list: `GET /v1/keys`.
pub const KEYS: &str = "/v1/keys";
/// Clusters and their nodes: `GET /v1/clusters`.
pub const CLUSTERS: &str = "/v1/clusters";
/// What waits at a supernode: `GET /v1/queue`.
pub const QUEUE: &str = "/v1/queue";
/// Places in the queue that outlive connections: `GET|DELETE /v1/tickets/{id}`.
pub const TICKETS: &str = "/v1/tickets";
/// What became of a request: `GET /v1/explain/{id}`.
pub const EXPLAIN: &str = "/v1/explain";
/// The supernodes: `GET /v1/supernodes`, orders below one of them.
pub const SUPERNODES: &str = "/v1/supernodes";
/// A supernode that is up leaves for ever: `POST /v1/supernodes/{id}/remove`; the last segment.
pub const REMOVE: &str = "remove";
/// One that is gone does: `POST /v1/supernodes/{id}/remove-lost`; the last segment.
pub const REMOVE_LOST: &str = "remove-lost";

/// A cluster that gets no new keys: `GET|POST|DELETE /v1/clusters/{cluster}/retire`; the last segment.
pub const RETIRE: &str = "retire";
/// The end of a cluster: `POST /v1/clusters/{cluster}/forget`; the last segment.
pub const FORGET: &str = "forget";
/// The directory made anew: `POST /v1/directory/rebuild`.
pub const DIRECTORY_REBUILD: &str = "/v1/directory/rebuild";
/// The directory held against the clusters: `GET /v1/directory/verify`.
pub const DIRECTORY_VERIFY: &str = "/v1/directory/verify";
/// The directory as lines: `GET /v1/directory/dump`.
pub const DIRECTORY_DUMP: &str = "/v1/directory/dump";

/// Operations: the event loop is alive.
pub const HEALTHZ: &str = "/healthz";
/// Operations: this process can do its work.
pub const READYZ: &str = "/readyz";
/// Operations: Prometheus text.
pub const METRICS: &str = "/metrics";

/// Peers: Raft messages, `POST /peer/v1/raft/{kind}`.
pub const PEER_RAFT: &str = "/peer/v1/raft";
/// Peers: one file through a gateway, name in [`crate::header::NAME`].
pub const PEER_FILE: &str = "/peer/v1/file";
/// Peers: where the bytes of one file lie, name in [`crate::header::NAME`].
pub const PEER_LAYOUT: &str = "/peer/v1/layout";
/// Peers: one page of a cluster's list.
pub const PEER_LIST: &str = "/peer/v1/list";
/// Peers: a chunk's bytes, `PUT` and `GET`, id in [`crate::header::CHUNK`].
pub const PEER_CHUNK: &str = "/peer/v1/chunk";
/// Peers: whether the process answers at all; nothing else is asked.
pub const PEER_ALIVE: &str = "/peer/v1/alive";
/// Peers: where replicas lie on this node's disk (layout).
pub const PEER_LOCATE: &str = "/peer/v1/locate";
/// Peers: the leader's choice of nodes for new chunks.
pub const PEER_PLACE: &str = "/peer/v1/place";
/// Peers: a node's statistics, to its leader.
pub const PEER_HEARTBEAT: &str = "/peer/v1/heartbeat";
/// Peers: formation of a new cluster.
pub const PEER_FORM: &str = "/peer/v1/form";
/// `POST`: a new node asks for a place in its cluster.
pub const PEER_JOIN: &str = "/peer/v1/join";
/// `POST`: a node that starts asks whether it may take part.
pub const PEER_GREET: &str = "/peer/v1/greet";
/// Peers: a cluster's report, from its leader to a supernode.
pub const PEER_REPORT: &str = "/peer/v1/report";
/// Peers: claim of a key for a cluster, to a supernode.
pub const PEER_CLAIM: &str = "/peer/v1/claim";
/// Peers: whether a bucket exists, to a supernode.
pub const PEER_BUCKET: &str = "/peer/v1/bucket";
/// Peers: which nodes of a cluster serve clients now, to a supernode.
pub const PEER_NODES: &str = "/peer/v1/nodes";
/// Peers: the home of a key, to a supernode.
pub const PEER_LOOKUP: &str = "/peer/v1/lookup";
/// Peers: homes that a cluster closed, to a supernode.
pub const PEER_RELEASE: &str = "/peer/v1/release";
/// Peers: a request that waits, to another supernode.
pub const PEER_QUEUE: &str = "/peer/v1/queue";
/// Peers: what became of a request, to another supernode.
pub const PEER_EXPLAIN: &str = "/peer/v1/explain";
/// Peers: old claims, to a node of the cluster that has them.
pub const PEER_SETTLE: &str = "/peer/v1/settle";
/// Peers: home records as a cluster's own log has them, to any of its nodes.
pub const PEER_HOMES: &str = "/peer/v1/homes";
/// Peers: the fence of a rebuild, to any node of a cluster.
pub const PEER_FENCE: &str = "/peer/v1/fence";
/// Peers: one page of the ids on a node's disk.
pub const PEER_INVENTORY: &str = "/peer/v1/inventory";
/// Peers: how copies on a node's disk look.
pub const PEER_INSPECT: &str = "/peer/v1/inspect";
/// Peers: a cluster's metadata against its disks, streamed.
pub const PEER_FSCK: &str = "/peer/v1/fsck";
/// Peers: what an operator asks of a cluster, to any of its nodes.
pub const PEER_ADMIN: &str = "/peer/v1/admin";
/// Peers: whether a node that drains has no chunk left.
pub const PEER_DRAINED: &str = "/peer/v1/drained";
/// Peers: the members of the group, to its leader.
pub const PEER_MEMBERS: &str = "/peer/v1/members";
/// Peers: the node asked hands over and ends.
pub const PEER_STOP: &str = "/peer/v1/stop";
/// Peers: a node's transfers.
pub const PEER_TRANSFERS: &str = "/peer/v1/transfers";
/// A cluster's metadata against its disks: `GET /v1/clusters/{cluster}/fsck`; the last segment.
pub const FSCK: &str = "fsck";
