//! Preconditions from the client's headers into what the rules and the reads evaluate.

use std::time::{Duration, UNIX_EPOCH};

use flotilla_http_server::{
    ApiError,
    conditions::{EtagList, ReadVerdict, WriteConditions, read_conditions},
};
use http::HeaderMap;

use crate::metadata::{
    Precondition,
    precondition::Etags,
    rows::{Etag, FileRow},
};

/// What a change needs of the current version: `If-Match` under the strong comparison, `If-None-Match` under the weak one.
pub fn precondition(conditions: &WriteConditions) -> Precondition {
    if conditions.is_empty() {
        return Precondition::Always;
    }
    Precondition::Etags {
        matches: conditions.if_match.as_ref().map(strong),
        differs: conditions.if_none_match.as_ref().map(|list| etags(list, true)),
    }
}

/// The ETags of a list under the strong comparison.
pub fn strong(list: &EtagList) -> Etags {
    etags(list, false)
}

fn etags(list: &EtagList, weak: bool) -> Etags {
    match list {
        EtagList::Any => Etags::Any,
        EtagList::Tags(tags) => {
            let comparable = tags.iter().filter(|tag| weak || !tag.weak);
            Etags::These(comparable.filter_map(|tag| tag.text.parse::<Etag>().ok()).collect())
        }
    }
}

/// Evaluates the preconditions of a GET or HEAD.
///
/// # Errors
/// 400 `header_invalid`.
pub fn of_read(headers: &HeaderMap, file: &FileRow) -> Result<ReadVerdict, ApiError> {
    // HTTP dates have whole seconds, so the version's time is compared as it was sent.
    let modified = UNIX_EPOCH + Duration::from_secs(file.modified_ms / 1000);
    Ok(read_conditions(headers)?.evaluate(&file.etag.to_string(), modified))
}

#[cfg(test)]
mod tests {
    use flotilla_http_server::conditions::EntityTag;

    use super::*;

    #[test]
    fn weak_etags_are_left_out_of_if_match_alone() {
        let hex = "ab".repeat(32);
        let tag = |weak, text: &str| EntityTag { weak, text: text.to_owned() };
        let list = EtagList::Tags(vec![tag(true, &hex), tag(false, "strange"), tag(false, &hex.to_uppercase())]);
        let conditions = WriteConditions { if_match: Some(list.clone()), if_none_match: Some(list) };
        let Precondition::Etags { matches, differs } = precondition(&conditions) else { panic!("no etags") };
        assert_eq!(matches, Some(Etags::These(Vec::new())));
        assert_eq!(differs, Some(Etags::These(vec![Etag::Root([0xab; 32])])));
        assert_eq!(precondition(&WriteConditions::default()), Precondition::Always);
    }
}
