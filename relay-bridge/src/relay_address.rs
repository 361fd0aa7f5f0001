//! The address of a relay: a `ws` or `wss` URL, taken apart once.
//!
//! Also the rule against being led into private networks: an address that came from somebody's announcement is
//! connected to only when it is public, and that is judged on the resolved IP, not on the name.

use std::net::IpAddr;

use fedai_protocol::limits::URL_BYTES_MAX;
use nostr::types::url::{Host, RelayUrl, Url};

/// A checked relay URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayAddress {
    url: String,
    host: String,
    port: u16,
    tls: bool,
}

/// Why a URL is not the address of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL, or not one of a websocket.
    #[error("is not a ws:// or wss:// URL")]
    NotWebsocket,
    /// User name or password inside.
    #[error("holds a user name or password")]
    Credentials,
    /// Longer than any real one.
    #[error("is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
}

impl RelayAddress {
    /// Parses and normalises: lower-case host, no trailing slash.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > URL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let url = Url::parse(text.trim()).map_err(|_| AddressError::NotWebsocket)?;
        let tls = match url.scheme() {
            "ws" => false,
            "wss" => true,
            _ => return Err(AddressError::NotWebsocket),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            _ => return Err(AddressError::NotWebsocket),
        };
        let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
        let url = url.as_str().trim_end_matches('/').to_owned();
        RelayUrl::parse(&url).map_err(|_| AddressError::NotWebsocket)?;
        Ok(Self { url, host, port, tls })
    }

    /// The normalised URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host name or IP, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// True for `wss`.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// False when the host is written as an IP address that is not public, or is `localhost`.
    #[must_use]
    pub fn may_be_public(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => is_public(ip),
            Err(_) => {
                let name = self.host.trim_end_matches('.');
                name != "localhost" && !name.ends_with(".localhost") && !name.ends_with(".local")
            }
        }
    }
}

/// True for addresses that the public internet routes.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            let protocol = a == 192 && b == 0 && c == 0;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || shared
                || benchmark
                || protocol)
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            let mapped = ip.to_ipv4_mapped().is_some_and(|v4| !is_public(IpAddr::V4(v4)));
            let translated = first == 0x64 && second == 0xff9b;
            let global = first & 0xe000 == 0x2000;
            let documentation = first == 0x2001 && second == 0xdb8;
            let tunnel = first == 0x2002 || (first == 0x2001 && second == 0);
            if ip.to_ipv4_mapped().is_some() {
                !mapped
            } else {
                global && !documentation && !tunnel && !translated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalised_and_others_refused() {
        let parse = |text| RelayAddress::parse(text).map(|a| (a.url().to_owned(), a.port(), a.is_tls()));
        assert_eq!(parse("wss://Relay.Example/"), Ok(("wss://relay.example".into(), 443, true)));
        assert_eq!(parse(" ws://127.0.0.1:7447 "), Ok(("ws://127.0.0.1:7447".into(), 7447, false)));
        assert_eq!(RelayAddress::parse("ws://[::1]:9/x").unwrap().host(), "::1");
        assert_eq!(parse("http://a"), Err(AddressError::NotWebsocket));
        assert_eq!(parse("relay"), Err(AddressError::NotWebsocket));
        assert_eq!(parse("wss://user:pw@a"), Err(AddressError::Credentials));
        assert_eq!(parse(&format!("wss://{}", "a".repeat(255))), Err(AddressError::TooLong));
    }

    #[test]
    fn only_public_addresses_are_public() {
        for ip in
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"]
        {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        assert!(!RelayAddress::parse("ws://localhost:1").unwrap().may_be_public());
        assert!(RelayAddress::parse("wss://relay.example").unwrap().may_be_public());
    }
}
