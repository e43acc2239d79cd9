//! Connections between processes of one machine; knows no protocol above TCP.

use std::{net::SocketAddr, os::fd::AsFd};

/// What paces nothing and is in every kernel; on a path without loss it is as good as any other.
const UNPACED: &str = "reno";

/// Takes the pacing off what is sent to a `peer` on this machine; other connections stay as the system has them.
///
/// Pacing (the default with BBR) spreads a sender's packets by a timer, so that queues of a network stay short. Memory has no
/// such queues, and there a timer per few packets costs a sixth of all processor time of a large transfer. It is a hint: where
/// the system refuses, the connection works all the same.
pub fn unpace_loopback(stream: &impl AsFd, peer: SocketAddr) {
    if peer.ip().to_canonical().is_loopback() {
        let _ = rustix::net::sockopt::set_tcp_congestion(stream, UNPACED); // only slower without
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn connections_within_the_machine_lose_their_pacing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("connected");
        let before = rustix::net::sockopt::tcp_congestion(&stream).expect("told");
        unpace_loopback(&stream, "192.0.2.1:1".parse().expect("an address"));
        assert_eq!(rustix::net::sockopt::tcp_congestion(&stream).expect("told"), before);
        unpace_loopback(&stream, address);
        assert_eq!(rustix::net::sockopt::tcp_congestion(&stream).expect("told"), UNPACED);
    }
}
