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
}
