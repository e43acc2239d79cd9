//! The commands, one file each: arguments in, exit code out.

mod bucket;
mod cluster;
mod completions;
mod config;
mod copy;
pub mod dev;
mod directory;
mod doctor;
mod explain;
#[cfg(feature = "failpoints")]
mod failpoints;
mod fleet_secret;
mod fsck;
mod get;
mod healthcheck;
mod key;
mod loadtest;
mod ls;
mod man;
mod node;
mod put;
mod queue;
mod rm;
pub mod server;
mod stat;
mod status;
mod supernode;
mod tasks;
mod transfers;

use crate::{
    cli::{BucketCommand, ClusterCommand, Command, DirectoryCommand, KeyCommand},
    exit::{Exit, Failure},
    output::Report,
};

/// Runs a command that is no server; failures are told here.
///
/// # Cancel safety
/// Temporary files are removed; requests under way may or may not take effect.
pub async fn run(command: Command) -> u8 {
    let json = match &command {
        Command::Put(args) => args.client.json,
        Command::Get(args) => args.client.json,
        Command::Ls(args) => args.client.json,
        Command::Cp(args) | Command::Mv(args) => args.client.json,
        Command::Rm(args) => args.client.json,
        Command::Stat(args) => args.client.json,
        Command::Status(args) => args.client.json,
        Command::Queue(args) => args.client.json,
        Command::Explain(args) => args.client.json,
        Command::Fsck(args) => args.client.json,
        Command::Tasks(args) => args.client.json,
        Command::Transfers(args) => args.client.json,
        Command::Bucket(args) => match &args.command {
            BucketCommand::Create(args) => args.client.json,
        },
        Command::Key(args) => match &args.command {
            KeyCommand::Create(args) | KeyCommand::Revoke(args) => args.client.json,
            KeyCommand::List(args) => args.client.json,
        },
        Command::Cluster(args) => match &args.command {
            ClusterCommand::List(args) => args.client.json,
            ClusterCommand::Retire(args) => args.client.json,
            ClusterCommand::Forget(args) => args.client.json,
        },
        Command::Directory(args) => match &args.command {
            DirectoryCommand::Rebuild(args) => args.client.json,
            DirectoryCommand::Verify(args) => args.client.json,
            DirectoryCommand::Dump(args) => args.client.json,
        },
        Command::Dev(args) => matches!(&args.command, crate::cli::DevCommand::Status(args) if args.json),
        Command::Doctor(args) => args.client.json,
        Command::Config(args) => {
            let crate::cli::ConfigCommand::Show(args) = &args.command;
            args.client.json
        }
        Command::Completions(_) | Command::FleetSecret(_) | Command::Healthcheck(_) | Command::Man(_) => false,
        #[cfg(feature = "failpoints")]
        Command::Failpoints(args) => args.json,
        Command::Loadtest(_) | Command::Node(_) | Command::Supernode(_) => false,
    };
    let result = match command {
        Command::Put(args) => Box::pin(put::run(args)).await.map(Exit::code),
        Command::Get(args) => Box::pin(get::run(args)).await.map(Exit::code),
        Command::Ls(args) => Box::pin(ls::run(args)).await.map(Exit::code),
        Command::Cp(args) => Box::pin(copy::run(args, copy::Then::Keep)).await.map(Exit::code),
        Command::Mv(args) => Box::pin(copy::run(args, copy::Then::Delete)).await.map(Exit::code),
        Command::Rm(args) => Box::pin(rm::run(args)).await.map(Exit::code),
        Command::Stat(args) => Box::pin(stat::run(args)).await.map(Exit::code),
        Command::Status(args) => Box::pin(status::run(args)).await.map(Exit::code),
        Command::Queue(args) => Box::pin(queue::run(args)).await.map(Exit::code),
        Command::Explain(args) => Box::pin(explain::run(args)).await.map(Exit::code),
        Command::Fsck(args) => Box::pin(fsck::run(args)).await.map(Exit::code),
        Command::Tasks(args) => Box::pin(tasks::run(args)).await.map(Exit::code),
        Command::Transfers(args) => Box::pin(transfers::run(args)).await.map(Exit::code),
        Command::Bucket(args) => Box::pin(bucket::run(args.command)).await.map(Exit::code),
        Command::Key(args) => Box::pin(key::run(args.command)).await.map(Exit::code),
        Command::Cluster(args) => Box::pin(cluster::run(args.command)).await.map(Exit::code),
        Command::Directory(args) => Box::pin(directory::run(args.command)).await.map(Exit::code),
        Command::Dev(args) => Box::pin(dev::run(args)).await.map(Exit::code),
        Command::Doctor(args) => Box::pin(doctor::run(args)).await.map(Exit::code),
        Command::FleetSecret(args) => fleet_secret::run(&args).map(Exit::code),
        Command::Healthcheck(args) => Box::pin(healthcheck::run(args)).await.map(Exit::code),
        Command::Config(args) => config::run(&args).map(Exit::code),
        Command::Completions(args) => completions::run(&args).map(Exit::code),
        Command::Man(args) => man::run(&args).map(Exit::code),
        #[cfg(feature = "failpoints")]
        Command::Failpoints(args) => failpoints::run(&args).map(Exit::code),
        Command::Loadtest(args) => Box::pin(loadtest::run(args)).await,
        Command::Node(_) | Command::Supernode(_) => {
            Err(Failure::new(Exit::Other, "servers have a runtime of their own"))
        }
    };
    result.unwrap_or_else(|failure| {
        Report::new(json).failure(&failure);
        failure.exit().code()
    })
}
