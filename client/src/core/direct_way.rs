//! Whether a client goes straight to a node's own relay, and where such an address may lead.
//!
//! Going there shows the node the client's network address, so the user decides. Where it leads is said by the node, a
//! stranger, so by default it may lead to the public internet only: a descriptor must not make this machine knock at
//! its neighbours. A network that is all on this machine is the exception, since everything in it is here.

use core::net::IpAddr;

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectWish {
    /// Only through relays: no node learns this machine's address.
    Never,
    /// Directly to public addresses, and on this machine where all relays are on this machine.
    #[default]
    Auto,
    /// Directly to any address, private ones included.
    Any,
}

/// Where a connection may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To addresses that the public internet routes; judged on what the name resolves to.
    Public,
    /// To any address.
    Anywhere,
}

/// Where the connection to a gateway on this host may lead; none when it must not be made. `is_all_here`: all relays
/// that the user configured are on this machine.
#[must_use]
pub fn reach(wish: DirectWish, host: &str, is_all_here: bool) -> Option<Reach> {
    match wish {
        DirectWish::Never => None,
        DirectWish::Any => Some(Reach::Anywhere),
        DirectWish::Auto if is_all_here && is_this_machine(host) => Some(Reach::Anywhere),
        DirectWish::Auto => Some(Reach::Public),
    }
}

/// True for a loopback address that is written as one; a name could resolve to anything.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_leads_nobody_into_a_private_network() {
        for host in ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "localhost", "node.example"] {
            assert_eq!(reach(DirectWish::Auto, host, false), Some(Reach::Public), "{host}");
            assert_eq!(reach(DirectWish::Never, host, true), None);
            assert_eq!(reach(DirectWish::Any, host, false), Some(Reach::Anywhere));
        }
    }

    #[test]
    fn a_network_on_this_machine_is_reached_by_its_loopback_address_alone() {
        for host in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert_eq!(reach(DirectWish::Auto, host, true), Some(Reach::Anywhere), "{host}");
        }
        for host in ["10.0.0.1", "169.254.169.254", "localhost", "node.example"] {
            assert_eq!(reach(DirectWish::Auto, host, true), Some(Reach::Public), "{host}");
        }
    }
}
