//! What became of a request, as `GET /v1/explain/{id}` tells it and as supernodes ask each other.
//!
//! What was seen and what was decided stand here as plain data, so that a decision can be made again from its record.

use serde::{Deserialize, Serialize};

use crate::{
    ClusterName, Code, Epoch, RequestId,
    queue::{Class, Lane},
};

/// The answer to `GET /v1/explain/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// Whether any supernode that answered remembers the request, and the caller may know of it.
    pub found: bool,
    /// The supernode that remembers it, by its peer address; the one that was asked if none does.
    pub supernode: String,
    /// What it remembers.
    #[serde(flatten)]
    pub explanation: Option<Explanation>,
    /// Other supernodes that did not answer: what they remember is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request.
    pub request: RequestId,
    /// Whose it is.
    pub principal: String,
    /// What was asked: `put`, `get`, `head`, `list`, `patch`, `delete` or `copy`; `ticket` for a ticket that stands in the queue.
    pub op: String,
    /// How long ago it came, in milliseconds, when this was asked.
    pub age_ms: u64,
    /// How much it is.
    pub class: Class,
    /// The home of its key, if that was known when it came.
    pub home: Option<ClusterName>,
    /// The clusters that it could go to when it came, if it could go to any: the best first, 8 of them at most.
    pub candidates: Vec<Considered>,
    /// What happened, in this order.
    pub steps: Vec<Step>,
    /// The claim that was made for it.
    pub claim: Option<Claimed>,
    /// The nodes that it was sent to, in this order, by their peer addresses.
    pub nodes: Vec<String>,
    /// The status that it was answered with.
    pub status: Option<u16>,
}

/// A cluster as routing saw it.
///
/// # Units
/// Thousandths where a name says so; units as in [`Class`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it took new keys.
    pub takes_new: bool,
    /// How good it was; higher is better.
    pub score_milli: u32,
    /// How old its last report was; none before the first.
    pub age_ms: Option<u64>,
    /// Its credits here.
    pub credits: u32,
    /// Those in use.
    pub in_flight: u32,
    /// Units that waited for it.
    pub queued_units: u64,
    /// How long it would take to serve those that waited in the request's lane.
    pub wait_ms: u64,
    /// How long until those are done, and small ones that were under way before another small one: where nobody had a free credit,
    /// those within a tenth of the least were compared by their scores.
    pub done_ms: u64,
    /// How busy the processors of its live nodes were.
    pub cpu_milli: u32,
    /// How much of their disks was free.
    pub disk_free_milli: u32,
}

/// One thing that happened to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after it came, in milliseconds.
    pub after_ms: u64,
    /// What happened.
    pub what: What,
}

/// What happened to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It began to wait; without a cluster: for its place among the lists.
    Queued {
        /// For this cluster.
        cluster: Option<ClusterName>,
        /// Behind so many units.
        ahead_units: u64,
        /// For so long, as was thought, in milliseconds.
        wait_ms: u64,
    },
    /// It left the queue of a cluster that took no new keys any more.
    Rehoused {
        /// That cluster.
        from: ClusterName,
    },
    /// An idle cluster took it out of the queue.
    Stolen {
        /// What was seen of all clusters.
        seen: Vec<Seen>,
        /// What followed from that.
        verdict: Verdict,
    },
    /// It was let through.
    Granted {
        /// To this cluster; none for a list.
        cluster: Option<ClusterName>,
        /// Why there.
        why: Routed,
    },
    /// It was refused.
    Refused {
        /// Why.
        why: Refusal,
        /// When it should come again, in milliseconds.
        again_ms: u64,
    },
    /// It followed its key to another cluster after it was let through.
    Moved {
        /// There.
        to: ClusterName,
    },
    /// Its client went away.
    Left,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The home that the key has now.
    pub cluster: ClusterName,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether this claim was the first; else an earlier one decided.
    pub granted: bool,
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routed {
    /// The cluster was the best one for a new key.
    New,
    /// The key is at home there.
    Home,
    /// The cluster was idle, and took it out of another one's queue.
    Stolen,
    /// Another claim of the key was earlier.
    LostClaim,
    /// It is a list.
    List,
}

impl Routed {
    /// The text for metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Home => "home",
            Self::Stolen => "stolen",
            Self::LostClaim => "lost_claim",
            Self::List => "list",
        }
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $text:literal $code:ident $sentence:literal,)*) => {
        /// Why a request is refused. Nothing was done for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Refusal {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code to answer with.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The text for metrics and JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// A sentence for people, without its end.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

// Between supernodes a refusal is its place in this table: new ones go to its end.
refusals! {
    /// It would wait in vain.
    Hopeless "hopeless" QueueFull "more requests wait than can be served in time",
    /// There is no room for it, and its principal has as much of it as any other.
    Full "full" QueueFull "the queue is full",
    /// It made room for a principal that has less of it.
    Displaced "displaced" QueueFull "the queue is full, and others have less of it",
    /// It has waited as long as it may.
    Waited "waited" QueueTimeout "the request has waited as long as it may",
    /// No cluster takes new keys.
    NoCluster "no_cluster" ClusterUnavailable "no cluster with space has reported lately, so none can take a new file",
    /// Its cluster was not heard for a while.
    Lost "lost" ClusterUnavailable "the file's cluster has not reported lately",
    /// The supernode stops.
    Closing "closing" NotReady "the supernode is stopping",
    /// It would have to wait, and its client would rather have a ticket: nobody is refused by this.
    WouldWait "would_wait" QueueFull "the request would have to wait, and its client would rather have a ticket",
}

/// What is seen of a cluster when it is decided whether a waiting request moves.
///
/// # Units
/// `units` as in [`Class`]; `score_milli` is a thousandth of routing's score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was heard lately.
    pub fresh: bool,
    /// How old its last report is; none before the first.
    pub age_ms: Option<u64>,
    /// Whether it takes new keys: it has space and does not retire.
    pub takes_new: bool,
    /// How many small requests for new keys could be sent there now.
    pub free_small: u32,
    /// As that, for big ones.
    pub free_big: u32,
    /// Small requests that wait for it.
    pub waiting_small: u32,
    /// Big ones.
    pub waiting_big: u32,
    /// Small ones among them that other clusters could serve.
    pub movable_small: u32,
    /// Big ones.
    pub movable_big: u32,
    /// Units of all that wait.
    pub units: u64,
    /// How long the oldest waits that another one could serve.
    pub oldest_movable_ms: u64,
    /// How long it takes until the small requests are done that are under way there, as fast as small ones were let through lately; none
    /// if there are none, or less than half of all.
    pub under_way_small_ms: Option<u64>,
    /// How good it is for a new key; higher is better.
    pub score_milli: u32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One request moves: the oldest of those that can be moved, of the principal whose turn it is.
    Take {
        /// The cluster that serves it.
        thief: ClusterName,
        /// The cluster whose queue it leaves.
        from: ClusterName,
        /// The lane it waits in.
        lane: Lane,
    },
    /// Nothing moves.
    Nothing(Why),
}

/// Why nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nothing waits that another cluster could serve, or its own one is about to.
    NothingIsStuck,
    /// No cluster has a free credit and nothing of its own.
    NobodyIsIdle,
    /// Those that have take longer for one more than the cluster that it waits for.
    NobodyIsSooner,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> ClusterName {
        name.parse().expect("a good name")
    }

    fn explanation() -> Explanation {
        let seen = Seen {
            cluster: cluster("a"),
            fresh: true,
            age_ms: None,
            takes_new: true,
            free_small: 0,
            free_big: 0,
            waiting_small: 1,
            waiting_big: 0,
            movable_small: 1,
            movable_big: 0,
            units: 1,
            oldest_movable_ms: 4,
            under_way_small_ms: Some(6),
            score_milli: 5,
        };
        let verdict = Verdict::Take { thief: cluster("b"), from: cluster("a"), lane: Lane::Small };
        let whats = [
            What::Queued { cluster: Some(cluster("a")), ahead_units: 3, wait_ms: 40 },
            What::Stolen { seen: vec![seen], verdict },
            What::Granted { cluster: Some(cluster("b")), why: Routed::Stolen },
            What::Left,
        ];
        Explanation {
            request: RequestId::from_bits(7),
            principal: "p".to_owned(),
            op: "put".to_owned(),
            age_ms: 9,
            class: Class { lane: Lane::Small, units: 1, bytes: 0 },
            home: None,
            candidates: Vec::new(),
            steps: whats.into_iter().map(|what| Step { after_ms: 1, what }).collect(),
            claim: Some(Claimed { cluster: cluster("b"), epoch: Epoch(4), granted: true }),
            nodes: vec!["h:1".to_owned()],
            status: Some(201),
        }
    }

    #[test]
    fn a_record_is_read_back_from_json_and_between_peers() {
        let told = Some(explanation());
        let between = crate::codec::encode(&told);
        assert_eq!(crate::codec::decode::<Option<Explanation>>(&between).expect("it decodes"), told);
        let answer = ExplainAnswer { found: true, supernode: "h:2".to_owned(), explanation: told, silent: Vec::new() };
        let text = serde_json::to_string(&answer).expect("plain data");
        assert!(text.contains(r#""stolen":{"#) && text.contains(r#""what":"left""#), "{text}");
        assert_eq!(serde_json::from_str::<ExplainAnswer>(&text).expect("it is read back"), answer);
    }

    #[test]
    fn what_nobody_remembers_is_said_so() {
        let (found, supernode) = (false, "h:2".to_owned());
        let answer = ExplainAnswer { found, supernode, explanation: None, silent: vec!["h:3".to_owned()] };
        let text = serde_json::to_string(&answer).expect("plain data");
        assert_eq!(text, r#"{"found":false,"supernode":"h:2","silent":["h:3"]}"#);
        assert_eq!(serde_json::from_str::<ExplainAnswer>(&text).expect("it is read back"), answer);
    }

    #[test]
    fn words_for_metrics_are_those_of_json() {
        let json = |value: serde_json::Value| value.as_str().map(str::to_owned).expect("a word");
        for why in [Routed::New, Routed::Home, Routed::Stolen, Routed::LostClaim, Routed::List] {
            assert_eq!(json(serde_json::to_value(why).expect("plain data")), why.as_str());
        }
        for why in Refusal::ALL {
            assert_eq!(json(serde_json::to_value(why).expect("plain data")), why.as_str());
            assert!(why.code().retryable(), "{}", why.as_str());
        }
    }
}
