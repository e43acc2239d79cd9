//! Starts the processes of a plan: secrets, arguments, environment, log files. Waits for nothing.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use flotilla_env::Entropy;

use super::{
    deployment::{Process, Role},
    overrides::Overrides,
    plan::Member,
    process::Identity,
};
use crate::{
    commands::fleet_secret,
    exit::{Exit, Failure},
};

/// The file with the fleet's secret, in the deployment's folder.
const FLEET_SECRET: &str = "fleet.secret";
/// The file with the root key, in the deployment's folder; the supernode makes it.
pub const ROOT_KEY: &str = "root.key";
/// The folder with the logs, in the deployment's folder.
pub const LOGS: &str = "log";
/// The end of a log that is shown when a process dies.
const TAIL_LINES: usize = 20;
/// That much of a log is searched for these lines.
const TAIL_BYTES: u64 = 16 << 10;

/// Variables that processes are started with if `dev` has them; others stay here, so that dev.json, which lists all of
/// them, repeats the start exactly and holds no stranger's secrets.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "TZ",
    "FAILPOINTS",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "MALLOC_CONF",
    "LLVM_PROFILE_FILE",
];
/// Beginnings of more such variables: our settings, the loader's, and those of faketime and the sanitizers.
const PASSED_PREFIXES: &[&str] = &["FLOTILLA_", "LD_", "FAKETIME", "ASAN_", "TSAN_"];
/// Of those, what is a client's.
const KEPT_BACK: &[&str] = &["FLOTILLA_API", "FLOTILLA_TOKEN", "FLOTILLA_DEV_DIR"];

/// Says whether a variable is passed on.
fn is_passed(name: &str) -> bool {
    let passed = PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    passed && !KEPT_BACK.contains(&name)
}

/// Picks the variables that are passed on.
pub fn environment(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    all.filter(|(name, _)| is_passed(name)).collect()
}

/// Makes sure that every port is free.
///
/// # Errors
/// One is not; the failure names the port and the process that would have had it.
pub fn check_ports(members: &[Member]) -> Result<(), Failure> {
    for member in members {
        for (what, address) in [("public", member.public), ("peer", member.peer), ("operations", member.ops)] {
            if let Err(e) = TcpListener::bind(address) {
                let detail = format!("port {} (the {what} port of {}) is not free: {e}", address.port(), member.name);
                let hint = "end what uses it, or start a new deployment with another --dir and --port-base";
                return Err(Failure::new(Exit::Other, detail).hint(hint));
            }
        }
    }
    Ok(())
}

/// Makes the fleet's secret if the folder has none.
///
/// # Errors
/// The folder takes no file.
pub fn fleet_secret(dir: &Path, entropy: &dyn Entropy) -> Result<(), Failure> {
    fleet_secret::make(&dir.join(FLEET_SECRET), entropy).map(|_made| ())
}

/// Describes a process before its start; it has no number yet.
///
/// # Errors
/// A path is not UTF-8, as arguments are.
pub fn describe(
    exe: &Path,
    dir: &Path,
    member: &Member,
    all: &[Member],
    overrides: &Overrides,
    env: &BTreeMap<String, String>,
) -> Result<Process, Failure> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::new(Exit::Usage, "the path is not UTF-8").about(path.display()))
    };
    let data_dir = dir.join(&member.data);
    let peers = |same: &dyn Fn(&Member) -> bool| {
        all.iter().filter(|one| same(one)).map(|one| one.peer.to_string()).collect::<Vec<_>>().join(",")
    };
    let mut settings = vec![
        ("name".to_owned(), member.name.clone()),
        ("data_dir".to_owned(), text(&data_dir)?),
        ("public".to_owned(), member.public.to_string()),
        ("peer".to_owned(), member.peer.to_string()),
        ("ops".to_owned(), member.ops.to_string()),
        ("initial_members".to_owned(), peers(&|one| (one.role, &one.cluster) == (member.role, &member.cluster))),
        ("fleet_secret_file".to_owned(), text(&dir.join(FLEET_SECRET))?),
    ];
    match member.role {
        Role::Node => {
            let cluster = member.cluster.as_ref().map(ToString::to_string).unwrap_or_default();
            settings.push(("cluster".to_owned(), cluster));
            settings.push(("supernodes".to_owned(), peers(&|one| one.role == Role::Supernode)));
        }
        Role::Supernode => settings.push(("root_key_file".to_owned(), text(&dir.join(ROOT_KEY))?)),
    }
    settings.extend(overrides.of(member));
    let mut argv = vec![text(exe)?, member.role.as_str().to_owned()];
    for (key, value) in settings {
        argv.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    Ok(Process {
        name: member.name.clone(),
        role: member.role,
        cluster: member.cluster.clone(),
        node_id: None,
        pid: 0,
        start_ticks: 0,
        argv,
        env: env.clone(),
        cwd: dir.to_owned(),
        public: format!("http://{}", member.public),
        peer: member.peer.to_string(),
        ops: format!("http://{}", member.ops),
        data_dir,
        log_file: dir.join(LOGS).join(format!("{}.log", member.name)),
    })
}

/// Starts a process as it is described and notes its number.
///
/// It is in a process group of its own, so that Ctrl-C reaches `dev` alone, and it outlives `dev`, so that `dev down` finds
/// it even if `dev` was killed.
///
/// # Errors
/// The program can't be started, or its log can't be written.
pub fn start(process: &mut Process) -> Result<Child, Failure> {
    let here = |what: &Path, e: io::Error| Failure::local(format_args!("{} ({})", process.name, what.display()), &e);
    let log = |path: &PathBuf| OpenOptions::new().append(true).create(true).open(path);
    let out = log(&process.log_file).map_err(|e| here(&process.log_file, e))?;
    let error: File = out.try_clone().map_err(|e| here(&process.log_file, e))?;
    let (program, arguments) = process.argv.split_first().expect("a description begins with the program");
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&process.env)
        .current_dir(&process.cwd)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(error)
        .process_group(0)
        .spawn()
        .map_err(|e| here(Path::new(program), e))?;
    process.pid = child.id();
    // Until it is waited for, even a process that has ended has its number; only its time can't be read then.
    process.start_ticks = Identity::of(process.pid).map_or(0, |identity| identity.start_ticks);
    Ok(child)
}

/// Gives the length of a process's log, 0 if it has none: where the lines of its next start begin.
pub fn log_length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Gives the last lines of a process's log, none from before the offset `begin`.
pub fn tail(path: &Path, begin: u64) -> String {
    let read = || -> io::Result<String> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(begin);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
    };
    read().unwrap_or_else(|e| format!("{} can't be read: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use flotilla_env::entropy;

    use super::*;
    use crate::{
        commands::dev::plan::Plan,
        settings::{self, Sources},
    };

    fn described(name: &str, texts: &[&str]) -> Process {
        let members = Plan { supernodes: 3, ..Plan::default() }.members();
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let overrides = Overrides::parse(&texts, &members).expect("good settings");
        let member = members.iter().find(|member| member.name == name).expect("it is in the plan");
        let (exe, dir) = (Path::new("/bin/flotilla"), Path::new("/d"));
        describe(exe, dir, member, &members, &overrides, &BTreeMap::new()).expect("the paths are UTF-8")
    }

    fn flags(process: &Process) -> Sources {
        let texts = process.argv[2..].chunks(2).map(|pair| settings::pair(&pair[1]).expect("a pair"));
        Sources { flags: texts.collect(), ..Sources::default() }
    }

    #[test]
    fn arguments_are_settings_that_the_servers_take() {
        let process = described("b-n2", &["chunk_size=1MiB"]);
        let node: flotilla_cluster_node::Settings = settings::load(&flags(&process)).expect("a node takes them");
        assert_eq!((node.name.as_str(), node.cluster.as_str()), ("b-n2", "b"));
        assert_eq!(node.initial_members, ["127.0.0.1:7424", "127.0.0.1:7425", "127.0.0.1:7426"]);
        assert_eq!(node.supernodes, ["127.0.0.1:7403", "127.0.0.1:7404", "127.0.0.1:7405"]);
        assert_eq!(node.chunk_size.as_u64(), 1 << 20);
        assert_eq!((node.data_dir.as_path(), node.peer.to_string()), (Path::new("/d/b/n2"), process.peer.clone()));

        let process = described("supernode-2", &["chunk_size=1MiB"]);
        let supernode: flotilla_supernode::Settings = settings::load(&flags(&process)).expect("a supernode takes them");
        assert_eq!(supernode.initial_members.len(), 3);
        assert_eq!(supernode.root_key_file.as_deref(), Some(Path::new("/d/root.key")));
        assert_eq!(process.argv[..2], ["/bin/flotilla", "supernode"]);
    }

    #[test]
    fn a_clients_credential_and_strangers_variables_are_not_passed_on() {
        let all = ["FLOTILLA_TOKEN", "FLOTILLA_API", "AWS_SECRET_ACCESS_KEY", "FAILPOINTS", "FLOTILLA_LOG", "PATH"];
        let passed = environment(all.iter().map(|name| ((*name).to_owned(), "x".to_owned())));
        assert_eq!(passed.keys().collect::<Vec<_>>(), ["FAILPOINTS", "FLOTILLA_LOG", "PATH"]);
    }

    #[test]
    fn the_fleets_secret_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(FLEET_SECRET);
        fleet_secret(dir.path(), &*entropy::seeded(1)).expect("the folder is writable");
        let first = std::fs::read_to_string(&path).expect("it was made");
        assert!(first.len() == 64 && first.bytes().all(|b| b.is_ascii_hexdigit()), "{first}");
        assert_eq!(std::fs::metadata(&path).expect("it was made").permissions().mode() & 0o777, 0o600);
        fleet_secret(dir.path(), &*entropy::seeded(2)).expect("the folder is writable");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), first);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_process() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let mut members = Plan::default().members();
        members.truncate(1);
        members[0].public.set_port(0);
        members[0].peer.set_port(0);
        members[0].ops = taken.local_addr().expect("it is bound");
        let failure = check_ports(&members).expect_err("the port is taken").to_string();
        assert!(failure.contains("operations port of supernode-1"), "{failure}");
        drop(taken);
        check_ports(&members).expect("the port is free again");
    }

    #[test]
    fn a_process_is_started_as_described_in_a_group_of_its_own() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut process = described("a-n1", &[]);
        process.argv = ["sh", "-c", "echo $GREETING; ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat"]
            .map(str::to_owned)
            .to_vec();
        process.env = BTreeMap::from([
            ("GREETING".to_owned(), "hello".to_owned()),
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ]);
        process.cwd = dir.path().to_owned();
        process.log_file = dir.path().join("log");
        let mut child = start(&mut process).expect("every system has sh");
        assert!(child.wait().expect("it is our child").success());
        let log = tail(&process.log_file, 0);
        let words: Vec<_> = log.split_whitespace().collect();
        assert_eq!(words, ["hello", &process.pid.to_string()]);
    }

    #[test]
    fn the_end_of_a_log_is_some_lines_long() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let lines: Vec<_> = (0..5000).map(|n| format!("line {n}")).collect();
        std::fs::write(file.path(), lines.join("\n")).expect("it is writable");
        let all = tail(file.path(), 0);
        assert_eq!(all.lines().count(), TAIL_LINES);
        assert_eq!(all.lines().last(), Some("line 4999"));
        let begin = log_length(file.path()) - "line 4998\nline 4999".len() as u64;
        assert_eq!(tail(file.path(), begin), "line 4998\nline 4999");
    }
}
