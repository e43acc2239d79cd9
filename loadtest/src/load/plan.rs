//! What is going to be done: a profile, a store, faults and a seed, checked as far as that is possible without a server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use flotilla_env::clock;

use super::{
    builtin,
    dialect::Store,
    faults::{self, Fault},
    inject,
    operation::Operation,
    profile::Profile,
    run::Run,
    workers::Task,
};
use crate::{
    Error, Target,
    command::{CompareArgs, RunArgs},
    dev::Dev,
};

/// Runners that share a load.
const WORKERS_MAX: usize = 64;
/// What S3 credentials are called in the environment.
const AWS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];

/// A run that was asked for, checked as far as that is possible without a server.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) profile: Profile,
    pub(super) seed: u64,
    pub(super) keep: bool,
    /// Where every request is written down.
    pub(super) requests: Option<PathBuf>,
    pub(super) faults: Vec<Fault>,
    pub(super) dev: Arc<Dev>,
    pub(super) run: Arc<Run>,
}

impl Plan {
    /// Checks what was asked for; sends nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] and those of reading files, each with what to do.
    pub(super) fn new(args: &RunArgs, target: &Target) -> Result<Self, Error> {
        let mut profile = profile_of(&args.profile, args.scale)?;
        profile.0.adjust(args.connections, args.closed).map_err(Error::Usage)?;
        let faults = args.at.chunks(2).map(|pair| match pair {
            [at, what] => faults::parse(at, what).map_err(Error::Usage),
            _ => Err(Error::Usage("--at takes a time and a fault".to_owned())),
        });
        let mut faults = faults.collect::<Result<Vec<Fault>, Error>>()?;
        faults.sort_by_key(|fault| fault.at);
        let foreign = args.target.is_some() || !args.pids.is_empty();
        if !faults.is_empty() && foreign {
            let why = "--at makes faults in a dev deployment only; leave --target and --pids away";
            return Err(Error::Usage(why.to_owned()));
        }
        let (store, dev) = store_of(args.target.as_deref(), &args.pids, &args.bucket, target)?;
        inject::check(&faults, &dev).map_err(Error::Usage)?;
        let plan = Self::with(profile, store, dev, faults, args.seed, args.keep)?;
        if !args.worker.is_empty() {
            plan.check_shares(args)?;
        }
        Ok(Self { requests: args.requests.clone(), ..plan })
    }

    /// Says whether it can be carried out by several runners.
    fn check_shares(&self, args: &RunArgs) -> Result<(), Error> {
        let Profile { knee, trace, sizes_of, .. } = &self.profile;
        let alone = [
            (knee.is_some(), "[knee]"),
            (trace.is_some(), "[trace]"),
            (sizes_of.is_some(), "[sizes_of]"),
            (args.requests.is_some(), "--requests"),
        ];
        match alone.iter().find(|(asked, _)| *asked) {
            Some((_, what)) => Err(Error::Usage(format!("{what} needs a single runner: leave --worker away"))),
            None if args.worker.len() > WORKERS_MAX => {
                Err(Error::Usage(format!("at most {WORKERS_MAX} runners share a load")))
            }
            None => Ok(()),
        }
    }

    /// Gives what each runner is told; only its number differs.
    pub(super) fn task(&self, args: &RunArgs, target: &Target) -> Task {
        let s3 = args.target.as_ref().is_some_and(|target| target.starts_with("s3="));
        let environment =
            AWS.iter().filter(|_| s3).filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Task {
            index: 0,
            shares: args.worker.len() as u64,
            name: self.name.clone(),
            profile: self.profile.text.clone(),
            scale: args.scale,
            connections: args.connections,
            closed: args.closed,
            keep: args.keep,
            seed: args.seed,
            bucket: args.bucket.clone(),
            target: args.target.clone(),
            api: target.api.clone(),
            token: target.token.clone(),
            environment: environment.collect(),
        }
    }

    /// Makes the plan of one of several runners.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(super) fn of_share(task: &Task) -> Result<Self, Error> {
        let Task { index, shares, scale, seed, .. } = *task;
        let wrong = |error: String| Error::Usage(format!("profile '{}': {error}", task.name));
        let mut profile = Profile::parse(&task.profile).map_err(wrong)?;
        profile.scale(scale);
        profile.adjust(task.connections, task.closed).map_err(wrong)?;
        profile.share(index, shares.max(1));
        let deployment = Target { api: task.api.clone(), token: task.token.clone(), dev_json: None };
        let env = |name: &str| task.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let store = store_at(task.target.as_deref(), &task.bucket, &deployment, env)?;
        // Each has files, contents and times of its own.
        let seed = seed.wrapping_add(index);
        Self::with((profile, task.name.clone()), store, Arc::default(), Vec::new(), seed, task.keep)
    }

    /// Checks one side of a comparison.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(super) fn of_side(args: &CompareArgs, side: &str, pids: &[u32], deployment: &Target) -> Result<Self, Error> {
        let other = (side != "flotilla").then_some(side);
        let (store, dev) = store_of(other, pids, &args.bucket, deployment)?;
        Self::with(profile_of(&args.profile, args.scale)?, store, dev, Vec::new(), args.seed, false)
    }

    fn with(
        (profile, name): (Profile, String),
        store: Store,
        dev: Arc<Dev>,
        faults: Vec<Fault>,
        seed: u64,
        keep: bool,
    ) -> Result<Self, Error> {
        let missing = [
            (Operation::List, store.list_path("", 1).is_none(), "lists that can be checked"),
            (Operation::Copy, store.copy_path("", "").is_none(), "copies"),
        ];
        for (operation, missing, what) in missing {
            if missing && profile.mix.get(&operation).is_some_and(|weight| *weight > 0.0) {
                let kind = store.kind();
                return Err(Error::Usage(format!("profile '{name}' asks for {what}, which a target {kind}=… has not")));
            }
        }
        let run = Run::new(&profile, store, seed, clock::system());
        Ok(Self { name, profile, seed, keep, requests: None, faults, dev, run })
    }
}

/// Gives the store that is asked for: another one, whose credentials stand in `env`, or a Flotilla.
fn store_at(
    other: Option<&str>,
    bucket: &str,
    deployment: &Target,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Store, Error> {
    let store = match other {
        Some(text) => Store::other(text, env),
        None => Store::flotilla(deployment, bucket),
    };
    store.map_err(Error::Usage)
}

/// Gives a store and the processes that serve it, where they are known.
fn store_of(other: Option<&str>, pids: &[u32], bucket: &str, deployment: &Target) -> Result<(Store, Arc<Dev>), Error> {
    let dev = match (&deployment.dev_json, other) {
        _ if !pids.is_empty() => {
            Dev::of_pids(pids).map_err(|pid| Error::Usage(format!("there is no process {pid}")))?
        }
        (Some(path), None) => Dev::read(path)?,
        _ => Dev::default(),
    };
    let store = store_at(other, bucket, deployment, |name| std::env::var(name).ok())?;
    Ok((store, Arc::new(dev)))
}

/// Reads a profile and gives it with its name, all rates multiplied.
fn profile_of(path: &str, scale: f64) -> Result<(Profile, String), Error> {
    let (name, text) = text_of(path)?;
    let wrong = |error: String| Error::Usage(format!("profile '{path}': {error}"));
    let mut profile = Profile::parse(&text).map_err(wrong)?;
    profile.load(Path::new(path).parent().unwrap_or(Path::new(""))).map_err(wrong)?;
    if !(scale > 0.0 && scale <= 1000.0) {
        return Err(Error::Usage(format!("--scale is above 0 and at most 1000, not {scale}")));
    }
    profile.scale(scale);
    Ok((profile, name))
}

/// Finds a profile by its name or its path; gives its name and its text.
fn text_of(profile: &str) -> Result<(String, String), Error> {
    if let Some(text) = builtin::find(profile) {
        return Ok((profile.to_owned(), text.to_owned()));
    }
    let path = Path::new(profile);
    if path.extension().is_none_or(|extension| extension != "toml") {
        let known = builtin::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "profile '{profile}' does not exist; there are: seed-tables, {known}; a file of your own ends in .toml"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
    let name = path.file_stem().map_or_else(|| profile.to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((name, text))
}
