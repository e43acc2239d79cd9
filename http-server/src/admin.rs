//! Questions of operators to a cluster as both servers route and read them.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};
use flotilla_api::{
    Code,
    admin::{ROUTES, Request},
    route,
};
use http::{Method, Uri};

use crate::{credentials::Caller, problem::ApiError};

/// Adds the routes of all questions.
pub fn with_routes<S, H, T>(mut router: Router<S>, handler: H) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    for (method, rest) in ROUTES {
        let method = Method::try_from(*method).expect("methods are written in capitals");
        let filter = MethodFilter::try_from(method).expect("an ordinary method");
        router = router.route(&format!("{}/{{cluster}}/{rest}", route::CLUSTERS), on(filter, handler.clone()));
    }
    router
}

/// Reads a question: the cluster's name and what is asked of it.
///
/// # Errors
/// 403 for anybody but root, 404 for what is no question.
pub fn request<'a>(caller: &Caller, method: &Method, uri: &'a Uri) -> Result<(&'a str, Request), ApiError> {
    if !caller.root {
        return Err(ApiError::new(Code::Forbidden, "only root may look into clusters and change them"));
    }
    let rest = uri.path().strip_prefix(route::CLUSTERS).and_then(|rest| rest.strip_prefix('/'));
    let parts = rest.and_then(|rest| rest.split_once('/'));
    let read = parts.and_then(|(cluster, rest)| Some((cluster, Request::parse(method.as_str(), rest)?)));
    read.ok_or_else(|| ApiError::new(Code::RouteNotFound, "clusters have no such route"))
}
