//! `flotilla stat`: what is known of a file, and where its bytes lie.

use std::fmt::Write as _;

use flotilla_api::{FileName, files::Layout};
use flotilla_client::FileInfo;
use serde_json::{Value, json};

use crate::{
    cli::StatArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// There is no such file, or it can't be asked for now.
pub async fn run(args: StatArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let name = args.place.file()?;
    let about = |e: flotilla_client::Error| Failure::from(e).about(&name);
    if args.layout {
        let layout = session.client.layout(&name).await.map_err(about)?;
        if session.report.is_json() { output::json(&layout)? } else { output::line(layout_text(&layout))? }
    } else {
        let info = session.client.head(&name).await.map_err(about)?;
        if session.report.is_json() { output::json(&json(&name, &info))? } else { output::line(text(&name, &info))? }
    }
    Ok(Exit::Ok)
}

/// Gives what is known of a file as JSON.
pub fn json(name: &FileName, info: &FileInfo) -> Value {
    json!({
        "bucket": name.bucket,
        "key": name.key,
        "size": info.size,
        "etag": info.etag,
        "version": info.version,
        "cluster": info.cluster,
        "epoch": info.epoch,
        "modified": info.modified,
        "request_id": info.request_id,
    })
}

fn text(name: &FileName, info: &FileInfo) -> String {
    let modified = info.modified.as_deref().unwrap_or("not told");
    let size = output::size(info.size);
    format!(
        "file      {name}\nsize      {} ({size})\netag      {}\nversion   {}\ncluster   {}\nepoch     {}\nmodified  {modified}",
        info.size, info.etag, info.version, info.cluster, info.epoch
    )
}

fn layout_text(layout: &Layout) -> String {
    let mut out = format!("version {}, {} bytes, cluster {}", layout.version, layout.size, layout.cluster);
    if layout.inline {
        out.push_str(", inline in the metadata");
    }
    for tree in &layout.trees {
        write!(out, "\ntree {} of {} bytes", tree.root, tree.length).expect("writing to a String cannot fail");
        for chunk in &tree.chunks {
            write!(out, "\n  chunk {} at {}, {} bytes", chunk.id, chunk.offset, chunk.length)
                .expect("writing to a String cannot fail");
            for copy in &chunk.replicas {
                let file = if copy.file.is_empty() { "no answer, or no copy" } else { copy.file.as_str() };
                write!(out, "\n    node {} {file} at {}", copy.node, copy.file_offset)
                    .expect("writing to a String cannot fail");
            }
        }
    }
    out
}
