//! What is going to be done: a profile, a store, faults and a seed, checked as far as that is possible without a server.

use std::{path::Path, sync::Arc};

use flotilla_env::clock;

use super::{
    builtin,
    dialect::Store,
    faults::{self, Fault},
    inject,
    operation::Operation,
    profile::{Pacing, Profile},
    run::Run,
};
use crate::{
    Error, Target,
    command::{CompareArgs, RunArgs},
    dev::Dev,
};

/// A run that was asked for, checked as far as that is possible without a server.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) profile: Profile,
    pub(super) seed: u64,
    pub(super) keep: bool,
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
        if let Some(connections) = args.connections {
            profile.0.connections = connections as usize;
        }
        if args.closed {
            profile.0.pacing = Pacing::Closed;
        }
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
        Self::with(profile, store, dev, faults, args.seed, args.keep)
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
        if store.list_path("", 1).is_none() && profile.mix.get(&Operation::List).is_some_and(|weight| *weight > 0.0) {
            let kind = store.kind();
            return Err(Error::Usage(format!("profile '{name}' asks for lists, which a target {kind}=… has not")));
        }
        let run = Run::new(&profile, store, seed, clock::system());
        Ok(Self { name, profile, seed, keep, faults, dev, run })
    }
}

/// Gives a store and the processes that serve it, where they are known.
fn store_of(other: Option<&str>, pids: &[u32], bucket: &str, deployment: &Target) -> Result<(Store, Arc<Dev>), Error> {
    let store = match other {
        Some(text) => Store::other(text, |name| std::env::var(name).ok()),
        None => Store::flotilla(deployment, bucket),
    };
    let dev = match (&deployment.dev_json, other) {
        _ if !pids.is_empty() => {
            Dev::of_pids(pids).map_err(|pid| Error::Usage(format!("there is no process {pid}")))?
        }
        (Some(path), None) => Dev::read(path)?,
        _ => Dev::default(),
    };
    Ok((store.map_err(Error::Usage)?, Arc::new(dev)))
}

/// Reads a profile and gives it with its name, all rates multiplied.
fn profile_of(profile: &str, scale: f64) -> Result<(Profile, String), Error> {
    let (name, text) = text_of(profile)?;
    let wrong = |error: String| Error::Usage(format!("profile '{profile}': {error}"));
    let mut profile = Profile::parse(&text).map_err(wrong)?;
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
