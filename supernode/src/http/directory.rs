//! The directory as a whole, for root: made anew from the clusters, held against them, or told line by line.

use axum::{
    Extension,
    extract::{Query, State},
    response::Response,
};
use flotilla_api::{
    ClusterName, Code, Problem,
    directory::{ClusterState, Entry},
    peer::Document,
};
use flotilla_http_server::{ApiError, Caller, ndjson};
use futures::{SinkExt, channel::mpsc};
use serde::Deserialize;

use super::{
    Late, Service,
    error::{of_answer, of_directory, of_refusal},
};
use crate::{
    asked::Asker,
    directory::{
        Answer, Directory, read,
        rows::{CLUSTERS_MAX, Stage},
    },
    rebuild::Rebuild,
    verify::Verify,
};

/// Lines between the work and its reader: a slow reader slows the work down.
const LINES: usize = 64;
/// Homes per step of a dump.
const DUMP_PAGE: usize = 512;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Clusters that are given up, parted by commas.
    #[serde(default)]
    fence: String,
}

/// Makes the directory anew from the clusters; ends with its reader.
pub(super) async fn rebuild(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let fence = names(&asked.fence)?;
    let (out, lines) = mpsc::channel(LINES);
    let rebuild = Rebuild {
        directory: service.directory().clone(),
        asker: asker(service),
        entropy: service.forwarder.entropy.clone(),
        fence,
        run: service.forwarder.entropy.u64(),
        out,
    };
    match rebuild.begin().await.map_err(|error| of_directory(&error))? {
        Answer::Rebuild(_) => {}
        Answer::Refused(refusal) => return Err(of_refusal(&refusal)),
        answer => return Err(of_answer(&answer)),
    }
    tokio::spawn(rebuild.run());
    Ok(ndjson::stream(lines))
}

/// Compares the directory with the clusters; ends with its reader.
pub(super) async fn verify(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let (out, lines) = mpsc::channel(LINES);
    tokio::spawn(Verify { directory: service.directory().clone(), asker: asker(service), out }.run());
    Ok(ndjson::stream(lines))
}

/// Tells all that the directory knows, but for keys' hashes.
pub(super) async fn dump(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let service = service.ready()?;
    for_root(&caller)?;
    let directory = service.directory().clone();
    // Refused while the directory is made anew: the last line would say that this was all.
    directory.fresh_clusters().await.map_err(|error| of_directory(&error))?;
    let (mut out, entries) = mpsc::channel(LINES);
    tokio::spawn(async move {
        let last = match tell_all(&directory, &mut out).await {
            Ok(Some(homes)) => Entry::End { homes },
            Ok(None) => return,
            Err(error) => Entry::Failed { detail: error.to_string() },
        };
        let _ = out.send(last).await; // nobody listens any more
    });
    Ok(ndjson::stream(entries))
}

/// Gives the number of homes; none if nobody listens any more.
async fn tell_all(directory: &Directory, out: &mut mpsc::Sender<Entry>) -> Result<Option<u64>, read::Error> {
    let (mut after, mut homes) = (None, 0);
    loop {
        let page = directory.page(after.take(), DUMP_PAGE).await?;
        let ended = page.len() < DUMP_PAGE;
        for (name, held) in page {
            let entry = Entry::Home {
                key: name.to_string(),
                cluster: held.home.cluster,
                epoch: held.home.epoch,
                unused: held.unused,
            };
            after = Some(name);
            homes += 1;
            if out.send(entry).await.is_err() {
                return Ok(None);
            }
        }
        if ended {
            break;
        }
    }
    let clusters = directory.clusters()?.into_iter();
    let mut rest: Vec<Entry> = clusters
        .map(|(name, row)| Entry::Cluster { name, uuid: row.uuid.to_string(), state: state_of(row.stage) })
        .collect();
    rest.extend(directory.documents()?.entries.into_iter().filter_map(|document| match document {
        Document::Bucket { name } => Some(Entry::Bucket { name: name.to_string() }),
        Document::Principal(principal) => {
            Some(Entry::Principal { name: principal.name.to_string(), root: principal.root })
        }
        // Who they are is no part of what is made anew.
        Document::Supernode(_) => None,
        // Told above, but for those that are refused for ever.
        Document::Cluster { .. } => None,
        Document::Fenced { name, uuid } => {
            Some(Entry::Cluster { name, uuid: uuid.to_string(), state: ClusterState::Fenced })
        }
    }));
    for entry in rest {
        if out.send(entry).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(homes))
}

/// How a cluster stands, for people.
pub(super) fn state_of(stage: Stage) -> ClusterState {
    match stage {
        Stage::Active => ClusterState::Active,
        Stage::Retiring { .. } => ClusterState::Retiring,
        Stage::Fenced { .. } => ClusterState::Fenced,
    }
}

pub(super) fn for_root(caller: &Caller) -> Result<(), ApiError> {
    match caller.root {
        true => Ok(()),
        false => Err(ApiError::new(Code::Forbidden, "only root may look into the directory and change it")),
    }
}

fn asker(service: &Service) -> Asker {
    Asker { clusters: service.forwarder.clusters.clone(), peers: service.forwarder.peers.clone() }
}

fn names(text: &str) -> Result<Vec<ClusterName>, ApiError> {
    let wrong = |detail: String| ApiError::from(Problem::new(Code::HeaderInvalid, detail));
    let names: Result<Vec<ClusterName>, _> = text.split(',').filter(|name| !name.is_empty()).map(str::parse).collect();
    let names = names.map_err(|error| wrong(error.to_string()))?;
    match names.len() > CLUSTERS_MAX {
        true => Err(wrong(format!("there are at most {CLUSTERS_MAX} clusters"))),
        false => Ok(names),
    }
}
