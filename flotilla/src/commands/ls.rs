//! `flotilla ls`: the files of a bucket, or of one level of it, page after page.

use flotilla_api::files::{LIST_LIMIT_MAX, ListItem};
use flotilla_client::ListQuery;
use serde::Serialize;

use crate::{
    cli::LsArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// One common prefix, as JSON.
#[derive(Serialize)]
struct Prefix<'a> {
    prefix: &'a str,
}

/// Runs the command.
///
/// # Errors
/// A page could not be listed; what was listed before stands on stdout.
pub async fn run(args: LsArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut query = ListQuery {
        prefix: args.place.key.clone(),
        delimiter: (!args.recursive).then(|| "/".to_owned()),
        limit: Some(LIST_LIMIT_MAX),
        partial: args.partial,
        ..ListQuery::default()
    };
    let mut exit = Exit::Ok;
    loop {
        let page =
            session.client.list(&args.place.bucket, &query).await.map_err(|e| Failure::from(e).about(&args.place))?;
        for entry in merged(&page.prefixes, &page.items) {
            match (entry, session.report.is_json()) {
                (Entry::Prefix(prefix), true) => output::json(&Prefix { prefix })?,
                (Entry::Item(item), true) => output::json(item)?,
                (Entry::Prefix(prefix), false) => output::line(format_args!("{:>10}  {:<20}  {prefix}", "", ""))?,
                (Entry::Item(item), false) => {
                    let (size, modified) = (output::size(item.size), &item.modified);
                    output::line(format_args!("{size:>10}  {modified:<20}  {}", item.key))?;
                }
            }
        }
        if !page.incomplete.is_empty() && exit == Exit::Ok {
            let names: Vec<_> = page.incomplete.iter().map(|name| name.as_str()).collect();
            session.report.warning(format_args!("clusters that don't answer are not listed: {}", names.join(", ")));
            exit = Exit::Partly;
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            return Ok(exit);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Entry<'a> {
    Prefix(&'a str),
    Item(&'a ListItem),
}

/// Puts both sorted lists in one order.
fn merged<'a>(prefixes: &'a [String], items: &'a [ListItem]) -> Vec<Entry<'a>> {
    let prefixes = prefixes.iter().map(|prefix| (prefix.as_str(), Entry::Prefix(prefix)));
    let items = items.iter().map(|item| (item.key.as_str(), Entry::Item(item)));
    let mut all: Vec<_> = prefixes.chain(items).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_files_stand_in_one_order() {
        let item = |key: &str| ListItem {
            key: key.parse().expect("a good key"),
            size: 1,
            etag: String::new(),
            version: String::new(),
            modified: String::new(),
            cluster: "a".parse().expect("a good name"),
        };
        let (prefixes, items) = (["b/".to_owned(), "d/".to_owned()], [item("a"), item("c")]);
        let order: Vec<_> = merged(&prefixes, &items)
            .into_iter()
            .map(|entry| match entry {
                Entry::Prefix(prefix) => prefix,
                Entry::Item(item) => item.key.as_str(),
            })
            .collect();
        assert_eq!(order, ["a", "b/", "c", "d/"]);
    }
}
