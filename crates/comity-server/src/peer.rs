//! Where a client is.

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use core::net::{IpAddr, SocketAddr};

/// The address of the client that sent a request: the connection's, or, with `forwarded_for`, the last one in
/// `X-Forwarded-For`, which a proxy in front has to append: without such a proxy, clients could write what they like.
/// `None` where there is none.
pub fn client_address(headers: &HeaderMap, extensions: &Extensions, forwarded_for: bool) -> Option<IpAddr> {
    if forwarded_for {
        // The last: what the proxy in front saw. Those before it are what the client says.
        let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        return last.rsplit(',').next()?.trim().parse().ok();
    }
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_proxy_is_believed_only_if_told_and_the_client_never() {
        let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
        extensions.insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        assert_eq!(client_address(&headers, &extensions, true), None);
        headers.append("x-forwarded-for", HeaderValue::from_static("198.51.100.1, 203.0.113.9"));
        assert_eq!(client_address(&headers, &extensions, false), "192.0.2.1".parse().ok());
        assert_eq!(client_address(&headers, &extensions, true), "203.0.113.9".parse().ok());
        headers.append("x-forwarded-for", HeaderValue::from_static("2001:db8::7"));
        assert_eq!(client_address(&headers, &extensions, true), "2001:db8::7".parse().ok());
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9, unknown"));
        assert_eq!(client_address(&headers, &extensions, true), None);
        assert_eq!(client_address(&HeaderMap::new(), &Extensions::new(), false), None);
    }
}
