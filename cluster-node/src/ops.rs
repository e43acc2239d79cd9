//! Names of operations in metrics and logs: few and fixed, whatever is requested.

use flotilla_api::route;
use http::Method;

/// Names a request's operation. What a supernode sends on for its client has a name of its own: that client's request is counted
/// where it came in.
#[must_use]
pub fn name(method: &Method, route: Option<&str>) -> &'static str {
    match route {
        Some(path) if path.starts_with(route::FILES) => match method.as_str() {
            "PUT" => "put",
            "GET" => "get",
            "HEAD" => "head",
            "DELETE" => "delete",
            "POST" => "copy",
            "PATCH" => "patch",
            _ => "other",
        },
        Some(route::PEER_FILE) => match method.as_str() {
            "PUT" => "peer_put",
            "GET" => "peer_get",
            "HEAD" => "peer_head",
            "DELETE" => "peer_delete",
            "POST" => "peer_copy",
            "PATCH" => "peer_patch",
            _ => "other",
        },
        Some(path) if path.starts_with(route::PEER_RAFT) => "raft",
        Some(route::PEER_LIST) => "peer_list",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_supernode_sends_on_is_told_from_what_clients_bring() {
        let public = format!("{}/{{*name}}", route::FILES);
        let methods = [Method::PUT, Method::GET, Method::HEAD, Method::DELETE, Method::POST, Method::PATCH];
        for (method, own) in methods.iter().zip(["put", "get", "head", "delete", "copy", "patch"]) {
            assert_eq!(name(method, Some(&public)), own);
            assert_eq!(name(method, Some(route::PEER_FILE)), format!("peer_{own}"));
        }
        assert_eq!(name(&Method::POST, Some(route::PEER_LIST)), "peer_list");
        assert_eq!(name(&Method::OPTIONS, Some(&public)), "other");
        assert_eq!(name(&Method::GET, None), "other");
    }
}
