//! The addresses that a process gives to others, checked, and the one at which its own machine reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Error;

/// The addresses that others use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `HOST:PORT` of the peer listener.
    pub peer: String,
    /// The URL of the public listener.
    pub public: String,
}

/// Gives the advertised addresses: the told ones, else the bound ones.
///
/// # Errors
/// [`Error::Setting`] where a listener is bound to every address and nothing is told.
pub fn advertised(
    public: SocketAddr,
    peer: SocketAddr,
    told_public: Option<&str>,
    told_peer: Option<&str>,
) -> Result<Addresses, Error> {
    let address = |told: Option<&str>, bound: SocketAddr, name: &'static str| match told {
        Some(told) => Ok(told.to_owned()),
        None if bound.ip().is_unspecified() => {
            let why = format!("is needed when listening on {bound}: nobody can be sent to every address");
            Err(Error::Setting { name, why })
        }
        None => Ok(bound.to_string()),
    };
    let public = match told_public {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", address(None, public, "advertise_public")?),
    };
    Ok(Addresses { peer: address(told_peer, peer, "advertise_peer")?, public })
}

/// Checks the list of initial members.
///
/// # Errors
/// [`Error::Setting`].
pub fn members(told: &[String]) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::Setting { name: "initial_members", why });
    if !matches!(told.len(), 1 | 3 | 5) {
        return wrong(format!("has 1, 3 or 5 addresses, not {}", told.len()));
    }
    let mut members = told.to_vec();
    members.sort_unstable();
    members.dedup();
    match members.len() == told.len() {
        true => Ok(()),
        false => wrong("names an address twice".to_owned()),
    }
}

/// Gives the address at which this machine reaches a listener: loopback for one on every address.
#[must_use]
pub fn local(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        for (bound, wanted) in [
            ("0.0.0.0:7402", "127.0.0.1:7402"),
            ("[::]:7402", "[::1]:7402"),
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("10.1.2.3:5", "10.1.2.3:5"),
            ("[fd00::7]:5", "[fd00::7]:5"),
        ] {
            assert_eq!(local(bound.parse().expect("an address")).to_string(), wanted, "{bound}");
        }
    }
}
