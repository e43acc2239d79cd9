//! `flotilla node` and `flotilla supernode`: settings in, a server until a signal comes, its exit code out.

use std::{future::Future, path::Path};

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    allocator,
    cli::{NodeArgs, NodeCommand, NodeSettings, ServerArgs, SupernodeArgs, SupernodeCommand, SupernodeSettings},
    exit::{Exit, Failure, chain},
    logging,
    output::{self, Report},
    runtime::{self, Stop},
    settings::{self, Sources},
};

/// Runs a node, or does what else is to be done with nodes.
pub fn node(args: &NodeArgs) -> u8 {
    match &args.command {
        Some(NodeCommand::AcceptDisk { data_dir }) => accept_disk(data_dir),
        Some(NodeCommand::Join(args)) => serve_node(&args.node, joining(&args.members)),
        Some(command) => super::node::run(command),
        None => serve_node(&args.node, Vec::new()),
    }
}

fn serve_node(args: &NodeSettings, more: Vec<(String, String)>) -> u8 {
    let pairs = args.pairs().into_iter().chain(more).collect();
    serve::<flotilla_cluster_node::Settings, _, _>("node", &args.server, pairs, |settings, stop| async move {
        Box::pin(flotilla_cluster_node::run(settings, stop)).await.map_err(|e| (e.exit_code(), chain(&e)))
    })
}

/// Runs a supernode, or does what else is to be done with supernodes.
pub fn supernode(args: &SupernodeArgs) -> u8 {
    match &args.command {
        Some(SupernodeCommand::Join(args)) => serve_supernode(&args.supernode, joining(&args.members)),
        Some(command) => super::supernode::run(command),
        None => serve_supernode(&args.supernode, Vec::new()),
    }
}

fn serve_supernode(args: &SupernodeSettings, more: Vec<(String, String)>) -> u8 {
    let pairs = args.pairs().into_iter().chain(more).collect();
    serve::<flotilla_supernode::Settings, _, _>("supernode", &args.server, pairs, |settings, stop| async move {
        Box::pin(flotilla_supernode::run(settings, stop)).await.map_err(|e| (e.exit_code(), chain(&e)))
    })
}

/// Settings of one that joins: there are no initial members for it, whatever the file says.
fn joining(members: &str) -> Vec<(String, String)> {
    [("join", members), ("initial_members", "")].map(|(key, of)| (key.to_owned(), of.to_owned())).to_vec()
}

fn accept_disk(data_dir: &Path) -> u8 {
    if !data_dir.is_dir() {
        let failure = Failure::new(Exit::NotFound, "there is no such folder").about(data_dir.display());
        Report::new(false).failure(&failure);
        return failure.exit().code();
    }
    runtime::run("accept-disk", runtime::CLIENT, async {
        match flotilla_cluster_node::accept_disk(data_dir).await {
            Ok(()) => {
                output::note(format_args!("{} is trusted again; the node can be started", data_dir.display()));
                Exit::Ok.code()
            }
            Err(e) => {
                Report::new(false).failure(&Failure::new(Exit::Other, chain(&e)).about(data_dir.display()));
                e.exit_code()
            }
        }
    })
}

/// What a server that failed leaves with: its exit code, and the reason.
type Ended = Result<(), (u8, String)>;

fn serve<T, F, Fut>(what: &'static str, args: &ServerArgs, pairs: Vec<(String, String)>, run: F) -> u8
where
    T: DeserializeOwned,
    F: FnOnce(T, CancellationToken) -> Fut,
    Fut: Future<Output = Ended>,
{
    let refuse = |detail: String| {
        Report::new(false).failure(&Failure::new(Exit::Config, detail));
        Exit::Config.code()
    };
    let settings = match sources(args.config.as_deref(), &args.set, pairs).and_then(|sources| settings::load(&sources))
    {
        Ok(settings) => settings,
        Err(e) => return refuse(chain(&e)),
    };
    #[cfg(feature = "failpoints")]
    if let Err(why) = super::failpoints::set_up() {
        return refuse(why);
    }
    logging::server();
    let files_max = runtime::raise_files_max();
    tracing::info!(what, pid = std::process::id(), files_max, "starting");
    runtime::run(what, runtime::SERVER, async {
        let stop = CancellationToken::new();
        let listener = match Stop::listen() {
            Ok(signals) => tokio::spawn(pass_on(signals, stop.clone())),
            Err(e) => {
                tracing::error!(error = chain(&e), "signals can't be listened for");
                return Exit::Other.code();
            }
        };
        let shown = tokio::spawn(allocator::keep_shown());
        let ended = Box::pin(run(settings, stop)).await;
        listener.abort();
        shown.abort();
        match ended {
            Ok(()) => {
                tracing::info!(what, "stopped");
                Exit::Ok.code()
            }
            Err((exit_code, why)) => {
                tracing::error!(what, exit_code, error = why, "ended");
                exit_code
            }
        }
    })
}

/// Puts the sources in their order: a named flag comes behind `--set`, so that it wins.
///
/// # Errors
/// A text of `set` is not `KEY=VALUE`.
pub fn sources(file: Option<&Path>, set: &[String], pairs: Vec<(String, String)>) -> Result<Sources, settings::Error> {
    let mut flags = set.iter().map(|text| settings::pair(text)).collect::<Result<Vec<_>, _>>()?;
    flags.extend(pairs);
    // Variables that are not UTF-8 can't be settings.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Sources { file: file.map(Path::to_owned), env: env.collect(), flags })
}

/// The first signal asks the server to stop, the second one ends the process, as acked data allows at any time.
async fn pass_on(mut signals: Stop, stop: CancellationToken) {
    let signal = signals.wait().await;
    tracing::info!(signal, "stopping");
    stop.cancel();
    let signal = signals.wait().await;
    tracing::warn!(signal, "ending at once");
    std::process::exit(Exit::Interrupted.code().into());
}
