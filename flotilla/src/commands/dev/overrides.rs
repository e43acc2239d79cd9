//! Settings given to `dev up` by `--set`: each goes to the processes whose settings know its key.

use flotilla_cluster_node::Settings as Node;
use flotilla_supernode::Settings as Supernode;

use super::{deployment::Role, plan::Member};
use crate::{
    exit::{Exit, Failure, chain},
    settings::{self, known, nearest},
};

/// Settings that tell the processes of a deployment apart or hold them together.
const OWN: &[&str] = &[
    "name",
    "cluster",
    "data_dir",
    "public",
    "peer",
    "ops",
    "advertise_peer",
    "advertise_public",
    "initial_members",
    "join",
    "supernodes",
    "fleet_secret_file",
    "root_key_file",
];

/// Checked settings, in the order given.
#[derive(Debug, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Debug)]
struct Override {
    /// The process or cluster that it is for; all if none.
    target: Option<String>,
    key: String,
    value: String,
}

impl Overrides {
    /// Reads and checks the arguments.
    ///
    /// # Errors
    /// A key that no process knows (the nearest one is named), one that the deployment sets itself, or a bad value.
    pub fn parse(texts: &[String], members: &[Member]) -> Result<Self, Failure> {
        texts.iter().map(|text| parse(text, members)).collect::<Result<_, _>>().map(Self)
    }

    /// Gives the keys and values for one process.
    pub fn of(&self, member: &Member) -> Vec<(String, String)> {
        let fits = |one: &&Override| {
            one.target.as_ref().is_none_or(|target| is_target(target, member))
                && keys(member.role).contains(&one.key.as_str())
        };
        self.0.iter().filter(fits).map(|one| (one.key.clone(), one.value.clone())).collect()
    }
}

fn keys(role: Role) -> &'static [&'static str] {
    match role {
        Role::Node => known::<Node>(),
        Role::Supernode => known::<Supernode>(),
    }
}

fn is_target(target: &str, member: &Member) -> bool {
    target == member.name || member.cluster.as_ref().is_some_and(|cluster| cluster.as_str() == target)
}

fn parse(text: &str, members: &[Member]) -> Result<Override, Failure> {
    let usage = |detail: String| Failure::new(Exit::Usage, detail);
    let (key, value) = settings::pair(text).map_err(|e| usage(e.to_string()))?;
    let (target, key) = match key.split_once('.') {
        Some((target, key)) => (Some(target.to_owned()), key.to_owned()),
        None => (None, key),
    };
    let targets: Vec<_> =
        members.iter().filter(|m| target.as_ref().is_none_or(|target| is_target(target, m))).collect();
    if targets.is_empty() {
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        let target = target.unwrap_or_default();
        return Err(usage(format!("'{target}' is no process or cluster; there are {}", names.join(", "))));
    }
    if OWN.contains(&key.as_str()) {
        return Err(usage(format!("setting '{key}' is made by the deployment itself")));
    }
    let roles = [Role::Node, Role::Supernode].into_iter().filter(|role| targets.iter().any(|m| m.role == *role));
    let takers: Vec<_> = roles.filter(|role| keys(*role).contains(&key.as_str())).collect();
    if takers.is_empty() {
        let all: Vec<_> = known::<Node>().iter().chain(known::<Supernode>()).copied().collect();
        let free: Vec<_> = all.into_iter().filter(|key| !OWN.contains(key)).collect();
        let near = nearest(&key, &free, settings::ALIKE);
        let failure = usage(format!("setting '{key}' is unknown"));
        return Err(match near {
            Some(near) => failure.hint(format!("did you mean '{near}'?")),
            None => failure,
        });
    }
    for role in takers {
        let checked = match role {
            Role::Node => settings::check::<Node>(&key, &value),
            Role::Supernode => settings::check::<Supernode>(&key, &value),
        };
        checked.map_err(|e| usage(chain(&e)))?;
    }
    Ok(Override { target, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dev::plan::Plan;

    fn of(texts: &[&str], name: &str) -> Result<Vec<(String, String)>, Failure> {
        let members = Plan::default().members();
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let overrides = Overrides::parse(&texts, &members)?;
        Ok(overrides.of(members.iter().find(|member| member.name == name).expect("it is in the plan")))
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_setting_goes_to_those_who_know_it() {
        let texts = ["chunk_size=1MiB", "a.zone=left", "a-n2.zone=right"];
        assert_eq!(of(&texts, "b-n1").expect("good settings"), [pair("chunk_size", "1MiB")]);
        let left = [pair("chunk_size", "1MiB"), pair("zone", "left")];
        assert_eq!(of(&texts, "a-n1").expect("good settings"), left);
        assert_eq!(of(&texts, "a-n2").expect("good settings").last(), Some(&pair("zone", "right")));
        assert!(of(&texts, "supernode-1").expect("good settings").is_empty());
    }

    #[test]
    fn an_unknown_setting_names_the_nearest_one() {
        let failure = of(&["chunksize=1MiB"], "a-n1").expect_err("no such key");
        assert!(failure.to_string().contains("'chunk_size'"), "{failure}");
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn bad_values_targets_and_own_settings_are_refused() {
        for text in ["chunk_size=big", "c.zone=x", "supernode-1.zone=x", "public=127.0.0.1:1", "zone"] {
            assert_eq!(of(&[text], "a-n1").expect_err(text).exit(), Exit::Usage, "{text}");
        }
    }
}
