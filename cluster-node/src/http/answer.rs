//! The headers and documents of file answers.

use std::time::{Duration, UNIX_EPOCH};

use flotilla_api::{ClusterName, Epoch, Key, files::ListItem, header};
use http::{HeaderMap, HeaderName, HeaderValue, header as std_header};

use crate::metadata::rows::FileRow;

/// The media type of a file whose client gave none.
const MEDIA_TYPE_DEFAULT: &str = "application/octet-stream";

fn value(text: impl Into<String>) -> HeaderValue {
    HeaderValue::try_from(text.into()).expect("hex, numbers, names and dates are visible ASCII")
}

/// Adds a header whose text is ours.
pub fn set(headers: &mut HeaderMap, name: &'static str, text: impl Into<String>) {
    headers.insert(HeaderName::from_static(name), value(text));
}

/// Quotes an ETag.
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// The headers that every answer about a version has.
pub fn file_headers(cluster: &ClusterName, epoch: Epoch, file: &FileRow) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, header::VERSION, file.version.to_string());
    set(&mut headers, header::CLUSTER, cluster.to_string());
    set(&mut headers, header::EPOCH, epoch.to_string());
    headers.insert(std_header::ETAG, value(quoted(&file.etag.to_string())));
    let modified = UNIX_EPOCH + Duration::from_millis(file.modified_ms);
    headers.insert(std_header::LAST_MODIFIED, value(httpdate::fmt_http_date(modified)));
    headers.insert(std_header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let media_type = file.media_type.as_deref().unwrap_or(MEDIA_TYPE_DEFAULT);
    let media_type = HeaderValue::try_from(media_type).unwrap_or(HeaderValue::from_static(MEDIA_TYPE_DEFAULT));
    headers.insert(std_header::CONTENT_TYPE, media_type);
    headers
}

/// One file of a list.
pub fn list_item(cluster: &ClusterName, key: Key, file: &FileRow) -> ListItem {
    let modified = UNIX_EPOCH + Duration::from_millis(file.modified_ms);
    ListItem {
        key,
        size: file.size,
        etag: file.etag.to_string(),
        version: file.version.to_string(),
        modified: humantime::format_rfc3339_millis(modified).to_string(),
        cluster: cluster.clone(),
    }
}
