//! What waits, and what became of a request, as the SDK asks for it and reads it.

use axum::{extract::Request, response::IntoResponse as _};
use flotilla_api::{RequestId, route};
use http::StatusCode;

use crate::service::{HOST, Seen, client, network, router};

#[tokio::test]
async fn queues_and_explanations_are_asked_for_and_read() {
    let (network, seen) = (network(), Seen::new());
    let service = seen.clone();
    network.serve(
        HOST,
        router(move |request: Request| {
            let path = request.uri().path().to_owned();
            service.add(request.uri().to_string());
            async move {
                match path.as_str() {
                    route::QUEUE => {
                        r#"{"supernode":"s:1","found":false,"clusters":[],"items":[],"new":1}"#.into_response()
                    }
                    "/v1/explain/a.B_c:d-1" => r#"{"found":false,"supernode":"s:1","silent":["s:2"]}"#.into_response(),
                    _ => StatusCode::NOT_FOUND.into_response(),
                }
            }
        }),
    );
    let client = client(&network, &[HOST], 0);
    let id: RequestId = "a.B_c:d-1".parse().expect("a good id");
    assert_eq!(client.queue(Some(&id)).await.expect("an answer").found, Some(false));
    client.queue(None).await.expect("an answer");
    let told = client.explain(&id).await.expect("an answer");
    assert_eq!((told.found, told.explanation, told.silent), (false, None, vec!["s:2".to_owned()]));
    let base = format!("http://{HOST}/v1");
    let asked = [format!("{base}/queue?request=a.B_c:d-1"), format!("{base}/queue"), format!("{base}/explain/{id}")];
    assert_eq!(seen.all(), asked);
}
