//! Names of operations in metrics and logs: few and fixed, whatever is requested.

use flotilla_api::route;
use http::Method;

/// Names a request's operation.
#[must_use]
pub fn name(method: &Method, route: Option<&str>) -> &'static str {
    let file = |method: &Method| match method.as_str() {
        "PUT" => "put",
        "GET" => "get",
        "HEAD" => "head",
        "DELETE" => "delete",
        "POST" => "copy",
        "PATCH" => "patch",
        _ => "other",
    };
    match route {
        Some(path) if path.starts_with(route::FILES) || path == route::PEER_FILE => file(method),
        Some(path) if path.starts_with(route::PEER_RAFT) => "raft",
        Some(route::PEER_LIST) => "list",
        Some(route::PEER_CHUNK) if method == Method::PUT => "chunk_put",
        Some(route::PEER_CHUNK) => "chunk_get",
        Some(route::PEER_PLACE) => "place",
        Some(route::PEER_HEARTBEAT) => "heartbeat",
        Some(route::PEER_ALIVE) => "alive",
        Some(route::PEER_LOCATE | route::PEER_LAYOUT) => "locate",
        Some(route::PEER_FORM | route::PEER_JOIN | route::PEER_GREET) => "form",
        Some(route::PEER_SETTLE) => "settle",
        Some(route::PEER_HOMES | route::PEER_FENCE) => "homes",
        Some(route::PEER_FSCK) => "fsck",
        Some(
            route::PEER_ADMIN | route::PEER_TRANSFERS | route::PEER_MEMBERS | route::PEER_STOP | route::PEER_DRAINED,
        ) => "admin",
        Some(path) if path.starts_with(route::CLUSTERS) && path.ends_with(route::FSCK) => "fsck",
        Some(path) if path.starts_with(route::CLUSTERS) => "admin",
        Some(route::PEER_INVENTORY | route::PEER_INSPECT) => "inspect",
        Some(_) | None => "other",
    }
}
