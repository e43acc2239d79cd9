//! `flotilla supernode list|remove`: the members of the supernode group, and what an operator does with them.

use std::time::Duration;

use flotilla_api::{
    admin::{Role, Standing},
    supernodes::Supernode,
};

use crate::{
    cli::{SupernodeCommand, SupernodeListArgs, SupernodeRemoveArgs},
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
    runtime,
};

/// How often a removal is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one of the commands that are for a client.
pub fn run(command: &SupernodeCommand) -> u8 {
    runtime::run("supernode", runtime::CLIENT, async {
        let (json, result) = match command {
            SupernodeCommand::List(args) => (args.client.json, Box::pin(list(args)).await),
            SupernodeCommand::Remove(args) => (args.client.json, Box::pin(remove(args)).await),
            SupernodeCommand::Join(_) => (false, Ok(Exit::Usage)),
        };
        result.map_or_else(
            |failure| {
                Report::new(json).failure(&failure);
                failure.exit().code()
            },
            Exit::code,
        )
    })
}

async fn list(args: &SupernodeListArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut rows = vec![["ID", "NAME", "ROLE", "STATE", "PUBLIC", "PEER"].map(str::to_owned).to_vec()];
    for supernode in session.client.supernodes().await?.items {
        match session.report.is_json() {
            true => output::json(&supernode)?,
            false => rows.push(row(supernode)),
        }
    }
    if !session.report.is_json() {
        output::line(output::table(&rows))?;
    }
    Ok(Exit::Ok)
}

fn row(supernode: Supernode) -> Vec<String> {
    let role = match supernode.role {
        Role::Leader => "leader",
        Role::Voter => "voter",
        Role::Learner => "learner",
    };
    let state = match supernode.standing {
        _ if supernode.leaves => "leaves".to_owned(),
        Standing::Up => "up".to_owned(),
        Standing::Silent => format!("silent for {} s", supernode.silent_ms / 1000),
    };
    let public = supernode.public.unwrap_or_else(|| "-".to_owned());
    vec![supernode.id.to_string(), supernode.name, role.to_owned(), state, public, supernode.peer]
}

/// Has a supernode leave, and waits until it has.
async fn remove(args: &SupernodeRemoveArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let all = session.client.supernodes().await?.items;
    // The one that is asked may be the one that goes.
    let others: Vec<String> = all.iter().filter_map(|one| one.public.clone()).collect();
    session.client.also_ask(&others);
    let Some(of) = all.into_iter().find(|one| one.id == args.id) else {
        // Whether it has left or never was one, the group knows.
        let gone = session.client.remove_supernode(args.id, args.lost).await?;
        match session.report.is_json() {
            true => output::json(&gone)?,
            false => output::line(format_args!("supernode {}: has left already", gone.node))?,
        }
        return Ok(Exit::Ok);
    };
    session.client.remove_supernode(args.id, args.lost).await?;
    while !args.no_wait && session.client.supernodes().await?.items.iter().any(|one| one.id == args.id) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    match session.report.is_json() {
        true => output::json(&of)?,
        false => {
            let what = if args.no_wait { "leaves" } else { "removed" };
            output::line(format_args!("supernode {} ({}): {what}", of.id, of.name))?;
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use flotilla_api::NodeId;

    use super::*;

    #[test]
    fn a_row_says_whether_a_supernode_is_there() {
        let supernode = |standing, leaves| Supernode {
            id: NodeId(2),
            name: "supernode-2".to_owned(),
            peer: "h:1".to_owned(),
            public: None,
            role: Role::Voter,
            standing,
            silent_ms: 7300,
            leaves,
        };
        let cases = [
            (Standing::Up, false, "up"),
            (Standing::Silent, false, "silent for 7 s"),
            (Standing::Silent, true, "leaves"),
        ];
        for (standing, leaves, state) in cases {
            assert_eq!(row(supernode(standing, leaves)), ["2", "supernode-2", "voter", state, "-", "h:1"]);
        }
    }
}
