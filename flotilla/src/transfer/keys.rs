//! All files whose keys begin alike, page after page.

use flotilla_api::{BucketName, files::LIST_LIMIT_MAX, files::ListItem};
use flotilla_client::{Client, ListQuery};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use crate::exit::Failure;

/// Lists the files whose keys begin with `prefix`, in order.
///
/// # Bounds
/// One page is held at a time.
pub fn below(client: Client, bucket: BucketName, prefix: String) -> BoxStream<'static, Result<ListItem, Failure>> {
    let first = Some(ListQuery { prefix, limit: Some(LIST_LIMIT_MAX), ..ListQuery::default() });
    stream::try_unfold(first, move |query| {
        let (client, bucket) = (client.clone(), bucket.clone());
        async move {
            let Some(mut query) = query else { return Ok::<_, Failure>(None) };
            let page = client.list(&bucket, &query).await.map_err(Failure::from)?;
            query.cursor = page.next;
            let next = query.cursor.is_some().then_some(query);
            Ok(Some((stream::iter(page.items.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
    .boxed()
}
