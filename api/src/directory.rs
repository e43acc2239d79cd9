//! What an operator asks of the supernodes about clusters and the directory: routes under `/v1/clusters/{cluster}/` and
//! `/v1/directory`, answers as JSON.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, Epoch};

/// How a cluster stands with the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// It gets new keys.
    #[default]
    Active,
    /// It keeps the keys that it has and gets no new ones.
    Retiring,
    /// It is lost for ever, and what the directory knows of its keys is on its way out.
    Fenced,
}

impl ClusterState {
    /// The text for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Fenced => "fenced",
        }
    }
}

/// The answer to `GET`, `POST` and `DELETE /v1/clusters/{cluster}/retire`: how far a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// The cluster.
    pub cluster: ClusterName,
    /// How it stands.
    pub state: ClusterState,
    /// The homes that the directory has for it, counted within the last 10 s; none for a cluster that is active.
    pub homes: Option<u64>,
    /// Whether it retires and has no home left, counted since it began to: it can't get one any more.
    pub safe_to_forget: bool,
}

/// The answer to `POST /v1/clusters/{cluster}/forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The cluster that was forgotten.
    pub cluster: ClusterName,
    /// Homes that the directory let go of although their cluster did not; 0 without `fence`.
    pub dropped: u64,
}

/// One line of the answers to `POST /v1/directory/rebuild` and `GET /v1/directory/verify`; the last one is a summary or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The work goes on.
    Progress {
        /// What is being done.
        step: Step,
        /// For which cluster, if for one.
        cluster: Option<ClusterName>,
        /// Homes looked at in this step so far.
        homes: u64,
    },
    /// Something is not as it should be.
    Finding(Finding),
    /// The end.
    Summary(Summary),
    /// The work could not be ended.
    Failed {
        /// Why.
        detail: String,
        /// Whether the same command can succeed later.
        retryable: bool,
    },
}

/// A step of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// What an earlier try has left is taken away.
    Clear,
    /// The highest epoch of all clusters is looked for.
    Epochs,
    /// Clusters refuse first commits under what the lost directory granted.
    Fence,
    /// Buckets, principals and clusters are taken over.
    Documents,
    /// Homes are taken over.
    Adopt,
    /// Both sides are compared.
    Compare,
}

impl Step {
    /// The text for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Epochs => "epochs",
            Self::Fence => "fence",
            Self::Documents => "documents",
            Self::Adopt => "adopt",
            Self::Compare => "compare",
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum What {
    /// Two clusters have the key open.
    Twice,
    /// A cluster has the key open, and the directory knows no home of it.
    Unknown,
    /// A cluster has the key open, and the directory knows another home, or another epoch.
    Other,
    /// The directory knows a home that its cluster has no record of, and that was in use.
    Lost,
    /// A cluster that should be asked does not answer, or has never reported here.
    Missing,
    /// A cluster has the name of another one.
    Foreign,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Twice => "TWICE",
            Self::Unknown => "UNKNOWN",
            Self::Other => "OTHER",
            Self::Lost => "LOST",
            Self::Missing => "MISSING",
            Self::Foreign => "FOREIGN",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub what: What,
    /// The key, as `bucket/key`; none for a cluster as a whole.
    pub key: Option<String>,
    /// The clusters that it is about.
    pub clusters: Vec<ClusterName>,
    /// More, for people.
    pub detail: String,
}

/// What was done, or looked at, in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// The clusters that were asked.
    pub clusters: Vec<ClusterName>,
    /// Homes that are in use.
    pub homes: u64,
    /// Claims that nobody has used yet; no findings.
    pub unused: u64,
    /// Keys that changed whenever they were looked at, so that nothing is known of them; no findings.
    #[serde(default)]
    pub changing: u64,
    /// Findings; those of a rebuild keep it from its end.
    pub findings: u64,
}

/// One line of the answer to `GET /v1/directory/dump`, in the order of keys, then clusters, then documents; the last one is the
/// end or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Entry {
    /// A key's home.
    Home {
        /// The key, as `bucket/key`.
        key: String,
        /// The cluster.
        cluster: ClusterName,
        /// The grant's epoch.
        epoch: Epoch,
        /// Whether its cluster has not yet said that it uses it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unused: bool,
    },
    /// A cluster.
    Cluster {
        /// Its name.
        name: ClusterName,
        /// Its identity.
        uuid: String,
        /// How it stands.
        state: ClusterState,
    },
    /// A bucket.
    Bucket {
        /// Its name.
        name: String,
    },
    /// A principal.
    Principal {
        /// Its name.
        name: String,
        /// Whether it may do everything.
        root: bool,
    },
    /// All was told.
    End {
        /// How many homes.
        homes: u64,
    },
    /// The dump could not be ended.
    Failed {
        /// Why.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_and_say_what_they_are() {
        let finding =
            Finding { what: What::Twice, key: Some("demo/k".into()), clusters: Vec::new(), detail: "x".into() };
        for line in [
            Line::Progress { step: Step::Adopt, cluster: None, homes: 3 },
            Line::Finding(finding),
            Line::Summary(Summary::default()),
            Line::Failed { detail: "why".into(), retryable: true },
        ] {
            let text = serde_json::to_string(&line).expect("plain data");
            assert!(text.contains("\"line\":"), "{text}");
            assert_eq!(serde_json::from_str::<Line>(&text).expect("it was written so"), line);
        }
        let home = Entry::Home {
            key: "demo/k".into(),
            cluster: "a".parse().expect("a good name"),
            epoch: Epoch(7),
            unused: false,
        };
        let text = serde_json::to_string(&home).expect("plain data");
        assert_eq!(text, r#"{"line":"home","key":"demo/k","cluster":"a","epoch":7}"#);
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("it was written so"), home);
    }
}
