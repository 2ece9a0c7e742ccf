//! The address a request comes from.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

use crate::settings::Settings;

/// The connection's own address, or, behind a proxy the operator named, the nearest address in `X-Forwarded-For` that is
/// no such proxy. What a stranger writes into that header is never believed.
pub fn address(request: &HttpRequest, settings: &Settings) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    let trusted = |address: &IpAddr| settings.trusted_proxies.contains(address);
    if !trusted(&peer) {
        return peer;
    }
    let lines = request
        .headers()
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    // From the right, where our own proxies write; reading stops at the first thing that is no address.
    let mut nearest = hops.into_iter().rev().map_while(|hop| hop.trim().parse().ok());
    nearest.find(|hop| !trusted(hop)).unwrap_or(peer)
}

/// One household or server: a single IPv4 address, or an IPv6 /56, inside which anyone can pick addresses at will. What
/// limits are counted under.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & (u128::MAX << 72)).into()),
        },
    }
}

/// What is kept of an address: the /24 or the /56, enough to see that two acts came from one place, too little to name
/// a person.
pub fn shown_network(address: IpAddr) -> String {
    match network(address) {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => format!("{v6}/56"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::settings::StoreSettings;

    fn seen(peer: &str, forwarded: &str) -> String {
        let store = StoreSettings {
            database_url: String::new(),
            data_dir: "unused".into(),
        };
        let settings = Settings {
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            ..Settings::local(store)
        };
        let request = TestRequest::default()
            .peer_addr(format!("{peer}:1").parse().unwrap())
            .insert_header(("x-forwarded-for", forwarded))
            .to_http_request();
        address(&request, &settings).to_string()
    }

    #[test]
    fn only_named_proxies_are_believed() {
        assert_eq!(seen("192.0.2.9", "203.0.113.5"), "192.0.2.9");
        assert_eq!(seen("10.0.0.1", "203.0.113.5"), "203.0.113.5");
        assert_eq!(seen("10.0.0.1", "198.51.100.1, 203.0.113.5, 10.0.0.1"), "203.0.113.5");
        assert_eq!(seen("10.0.0.1", "not an address, 203.0.113.5"), "203.0.113.5");
        assert_eq!(seen("10.0.0.1", "203.0.113.5, not an address"), "10.0.0.1");
    }
    #[test]
    fn only_the_network_of_an_address_is_kept() {
        let shown = |text: &str| shown_network(text.parse().unwrap());
        assert_eq!(shown("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(shown("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(shown("2001:db8:1:2ff:aaaa::1"), "2001:db8:1:200::/56");
    }
}
