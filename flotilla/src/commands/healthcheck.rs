//! `flotilla healthcheck`: asks a server on this machine one question, for probes where there is neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flotilla_member::addresses;

use super::dev::probe::Probe;
use crate::{
    cli::{Asked, HealthcheckArgs},
    exit::{Exit, Failure},
};

/// Where servers answer that are told nothing else; the port of our packages and manifests.
const OPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7403);

/// Runs the command.
///
/// # Errors
/// The answer is no, or there is none: [`Exit::Unavailable`].
pub async fn run(args: HealthcheckArgs) -> Result<Exit, Failure> {
    let set = std::env::var("FLOTILLA_OPS").ok();
    let ops = address(args.ops, set.as_deref())?;
    let probe = Probe::new()?;
    let url = format!("http://{ops}");
    let why = match args.asked {
        Asked::Live => (!probe.lives(&url).await).then(|| "does not answer".to_owned()),
        Asked::Ready => {
            let readiness = probe.readiness(&url).await;
            (!readiness.ready).then(|| format!("not ready: {}", readiness.reasons.join(", ")))
        }
    };
    why.map_or(Ok(Exit::Ok), |why| Err(Failure::new(Exit::Unavailable, why).about(ops)))
}

/// Gives the address at which this machine reaches the listener: the flag's, else the environment's, else the usual one.
fn address(flag: Option<SocketAddr>, set: Option<&str>) -> Result<SocketAddr, Failure> {
    let bound = match (flag, set.filter(|text| !text.is_empty())) {
        (Some(flag), _) => flag,
        (None, Some(text)) => text.parse().map_err(|_| {
            Failure::new(Exit::Usage, format!("FLOTILLA_OPS is no address of the form IP:PORT: '{text}'"))
        })?,
        (None, None) => OPS,
    };
    Ok(addresses::local(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_environment_and_all_addresses_are_asked_on_loopback() {
        let of = |flag: Option<&str>, set: Option<&str>| {
            let flag = flag.map(|text| text.parse().expect("an address"));
            address(flag, set).map(|address| address.to_string()).map_err(|failure| failure.exit())
        };
        assert_eq!(of(None, None), Ok("127.0.0.1:7403".to_owned()));
        assert_eq!(of(None, Some("")), Ok("127.0.0.1:7403".to_owned()));
        assert_eq!(of(None, Some("0.0.0.0:9")), Ok("127.0.0.1:9".to_owned()));
        assert_eq!(of(Some("10.0.0.1:8"), Some("0.0.0.0:9")), Ok("10.0.0.1:8".to_owned()));
        assert_eq!(of(None, Some("here:9")), Err(Exit::Usage));
    }
}
