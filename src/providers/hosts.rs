//! Which hosts are asked. They come from the settings alone: nothing that a client types chooses one.

use std::net::IpAddr;

use reqwest::Url;

use crate::model::words;

words! {
    /// Which of Microsoft's separate clouds the clients' directories are in.
    Cloud {
        /// Everybody's.
        Global = "global",
        /// United States government (GCC High).
        UsGovernment = "us-government",
        /// Operated by 21Vianet in China.
        China = "china",
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Microsoft Entra ID: discovery and tokens.
    Login,
    /// Microsoft Graph.
    Graph,
    /// Exchange Web Services.
    Exchange,
    /// Google's tokens.
    GoogleToken,
    /// Google's People API.
    GooglePeople,
    /// Google's Calendar API.
    GoogleCalendar,
}

/// An override that is not on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be https:// and localhost or a loopback address, with a port if needed, and no path")]
pub struct NotLoopback;

/// The pinned hosts.
#[derive(Clone, Debug)]
pub struct Hosts {
    cloud: Cloud,
    stand_in: Option<Url>,
}

impl Hosts {
    /// The real ones of a cloud.
    pub const fn of(cloud: Cloud) -> Self {
        Self {
            cloud,
            stand_in: None,
        }
    }

    /// One local stand-in for all of them, for trying out and for tests. It must be on this machine, so
    /// that no setting can send a client's secret to somebody else.
    ///
    /// # Errors
    /// The origin is not on loopback.
    pub fn stand_in(cloud: Cloud, origin: &str) -> Result<Self, NotLoopback> {
        let url = Url::parse(origin).map_err(|_| NotLoopback)?;
        let host = url.host_str().ok_or(NotLoopback)?;
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost"
            || address
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let bare = url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        match loopback && bare {
            true => Ok(Self {
                cloud,
                stand_in: Some(url),
            }),
            false => Err(NotLoopback),
        }
    }

    /// Whether a stand-in answers for the providers.
    pub const fn is_stand_in(&self) -> bool {
        self.stand_in.is_some()
    }

    /// The scope of a token for an endpoint of Microsoft (learn.microsoft.com: "v2.0 client
    /// credentials flow"). It names the resource and is not an address that is called, so a stand-in
    /// does not change it.
    pub const fn scope(&self, endpoint: Endpoint) -> &'static str {
        match (endpoint, self.cloud) {
            (Endpoint::Exchange, Cloud::Global) => "https://outlook.office365.com/.default",
            (Endpoint::Exchange, Cloud::UsGovernment) => "https://outlook.office365.us/.default",
            (Endpoint::Exchange, Cloud::China) => "https://partner.outlook.cn/.default",
            (_, Cloud::Global) => "https://graph.microsoft.com/.default",
            (_, Cloud::UsGovernment) => "https://graph.microsoft.us/.default",
            (_, Cloud::China) => "https://microsoftgraph.chinacloudapi.cn/.default",
        }
    }

    /// An address at an endpoint. Each segment is escaped, so that none of them adds another or leads
    /// out of the path.
    pub fn url(&self, endpoint: Endpoint, segments: &[&str]) -> Url {
        let mut url = match &self.stand_in {
            Some(url) => url.clone(),
            // Unwrap safety: constants, each of which a test parses.
            None => Url::parse(self.origin(endpoint)).unwrap(),
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url
    }

    /// Entra's hosts: learn.microsoft.com, "Microsoft Entra authentication & national clouds"; Graph's:
    /// "Microsoft Graph national cloud deployments"; Google's: developers.google.com/identity, "Using
    /// OAuth 2.0 for server to server applications".
    const fn origin(&self, endpoint: Endpoint) -> &'static str {
        match (endpoint, self.cloud) {
            (Endpoint::Login, Cloud::Global) => "https://login.microsoftonline.com",
            (Endpoint::Login, Cloud::UsGovernment) => "https://login.microsoftonline.us",
            (Endpoint::Login, Cloud::China) => "https://login.partner.microsoftonline.cn",
            (Endpoint::Graph, Cloud::Global) => "https://graph.microsoft.com",
            (Endpoint::Graph, Cloud::UsGovernment) => "https://graph.microsoft.us",
            (Endpoint::Graph, Cloud::China) => "https://microsoftgraph.chinacloudapi.cn",
            (Endpoint::Exchange, Cloud::Global) => "https://outlook.office365.com",
            (Endpoint::Exchange, Cloud::UsGovernment) => "https://outlook.office365.us",
            (Endpoint::Exchange, Cloud::China) => "https://partner.outlook.cn",
            (Endpoint::GoogleToken, _) => "https://oauth2.googleapis.com",
            (Endpoint::GooglePeople, _) => "https://people.googleapis.com",
            (Endpoint::GoogleCalendar, _) => "https://www.googleapis.com",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: [Endpoint; 6] = [
        Endpoint::Login,
        Endpoint::Graph,
        Endpoint::Exchange,
        Endpoint::GoogleToken,
        Endpoint::GooglePeople,
        Endpoint::GoogleCalendar,
    ];

    #[test]
    fn every_endpoint_of_every_cloud_is_https_and_its_scope_is_its_own() {
        for cloud in Cloud::ALL {
            let hosts = Hosts::of(*cloud);
            for endpoint in ENDPOINTS {
                assert_eq!(hosts.url(endpoint, &["a"]).scheme(), "https");
            }
            for endpoint in [Endpoint::Graph, Endpoint::Exchange] {
                let url = hosts.url(endpoint, &[".default"]);
                assert_eq!(url.as_str(), hosts.scope(endpoint));
            }
        }
    }

    #[test]
    fn what_a_client_types_stays_inside_its_segment() {
        let hosts = Hosts::of(Cloud::Global);
        for typed in [
            "../../evil",
            "a/b?c#d",
            "@evil.example",
            "//evil.example",
            "a%2fb",
            "..",
        ] {
            let url = hosts.url(Endpoint::Login, &[typed, "oauth2"]);
            assert_eq!(url.host_str(), Some("login.microsoftonline.com"), "{typed}");
            assert!(url.path_segments().unwrap().count() <= 2, "{url}");
            assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        }
    }

    #[test]
    fn a_stand_in_is_on_this_machine() {
        for origin in [
            "https://localhost:1",
            "https://127.0.0.1:8203",
            "https://[::1]:8203",
        ] {
            let hosts = Hosts::stand_in(Cloud::Global, origin).unwrap();
            assert!(hosts.is_stand_in());
            let url = hosts.url(Endpoint::Graph, &["v1.0"]);
            assert_eq!(url.as_str(), format!("{origin}/v1.0"));
        }
        for origin in [
            "http://localhost:1",
            "https://localhost.evil.example",
            "https://evil.example",
            "https://127.0.0.1.evil.example",
            "https://user@localhost",
            "https://localhost/path",
            "localhost",
            "https://10.0.0.1",
        ] {
            assert!(Hosts::stand_in(Cloud::Global, origin).is_err(), "{origin}");
        }
    }
}
