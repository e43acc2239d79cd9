//! One page of a bucket out of one page of each cluster: sorted, each key once and from its home. Pure.

use std::collections::BTreeMap;

use flotilla_api::{
    ClusterName,
    files::{ListItem, ListPage},
};

/// What one cluster answered: a page that covers every name up to `next`, or to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPage {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its files and prefixes; `next` is the plain name up to which the page is complete.
    pub page: ListPage,
}

enum Entry {
    File(Box<ListItem>),
    Prefix,
}

/// Merges the pages. `is_home` tells, for a key that several clusters listed, whether an item's cluster is its home.
///
/// The answer's `next` is a plain name; whoever sends the page makes a cursor of it.
pub fn merge(pages: Vec<ClusterPage>, limit: usize, mut is_home: impl FnMut(&ListItem) -> bool) -> ListPage {
    // Behind the shortest incomplete page, a cluster may have names that nobody has seen yet.
    let complete_to = pages.iter().filter_map(|answer| answer.page.next.clone()).min();
    let covered = |name: &str| complete_to.as_deref().is_none_or(|end| name <= end);
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for ClusterPage { page, .. } in pages {
        for prefix in page.prefixes.into_iter().filter(|prefix| covered(prefix)) {
            entries.insert(prefix, Entry::Prefix);
        }
        for item in page.items {
            if covered(item.key.as_str()) && (!entries.contains_key(item.key.as_str()) || is_home(&item)) {
                entries.insert(item.key.as_str().to_owned(), Entry::File(Box::new(item)));
            }
        }
    }
    let more = entries.len() > limit;
    let mut merged = ListPage::default();
    for (name, entry) in entries.into_iter().take(limit) {
        merged.next = Some(name.clone());
        match entry {
            Entry::File(item) => merged.items.push(*item),
            Entry::Prefix => merged.prefixes.push(name),
        }
    }
    if !more {
        merged.next = complete_to;
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cluster: &str, keys: &[&str], prefixes: &[&str], next: Option<&str>) -> ClusterPage {
        let cluster: ClusterName = cluster.parse().expect("a good name");
        let item = |key: &&str| ListItem {
            key: key.parse().expect("a good key"),
            size: 1,
            etag: String::new(),
            version: String::new(),
            modified: String::new(),
            cluster: cluster.clone(),
        };
        let page = ListPage {
            items: keys.iter().map(item).collect(),
            prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(),
            next: next.map(str::to_owned),
            incomplete: Vec::new(),
        };
        ClusterPage { cluster: cluster.clone(), page }
    }

    fn keys(page: &ListPage) -> Vec<&str> {
        page.items.iter().map(|item| item.key.as_str()).collect()
    }

    #[test]
    fn pages_merge_sorted_and_go_on_where_the_limit_cut() {
        let pages = vec![page("a", &["a", "d"], &["x/"], None), page("b", &["b", "c"], &["x/"], None)];
        let merged = merge(pages.clone(), 10, |_| true);
        assert_eq!(
            (keys(&merged), &merged.prefixes[..], merged.next.clone()),
            (vec!["a", "b", "c", "d"], &["x/".to_owned()][..], None)
        );
        let merged = merge(pages, 3, |_| true);
        assert_eq!((keys(&merged), merged.next.as_deref()), (vec!["a", "b", "c"], Some("c")));
    }

    #[test]
    fn nothing_is_shown_behind_the_shortest_page() {
        let pages = vec![page("a", &["a", "b"], &[], Some("b")), page("b", &["c", "e"], &[], None)];
        let merged = merge(pages, 10, |_| true);
        assert_eq!((keys(&merged), merged.next.as_deref()), (vec!["a", "b"], Some("b")));
        let short = vec![page("a", &[], &[], Some("a")), page("b", &["c"], &[], None)];
        let merged = merge(short, 10, |_| true);
        assert_eq!((keys(&merged), merged.next.as_deref()), (vec![], Some("a")), "a page of tombstones still moves on");
    }

    #[test]
    fn a_key_in_two_clusters_is_listed_from_its_home() {
        let pages = vec![page("a", &["k"], &[], None), page("b", &["k"], &[], None)];
        let merged = merge(pages, 10, |item| item.cluster.as_str() == "b");
        assert_eq!(merged.items.len(), 1);
        assert_eq!(merged.items[0].cluster.as_str(), "b");
    }
}
