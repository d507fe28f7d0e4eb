//! What containers print. In: a Pod and a container. Out: lines, as they come.

use gitops_core::object::{Gvk, ObjectKey};
use http::Method;
use http_body_util::BodyExt;

use crate::discovery::Kind;
use crate::error::ClusterError;
use crate::transport::{Call, Cluster};

/// Longer lines are cut: a log may be anything.
const LONGEST: usize = 1 << 20;

/// Which part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub container: String,
    /// Go on as more is printed.
    pub follow: bool,
    /// Of the container's run before this one.
    pub previous: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only what was printed in the last so many seconds.
    pub since_seconds: Option<u64>,
    pub timestamps: bool,
}

impl LogOptions {
    fn query(&self) -> String {
        let mut query = format!("container={}", percent(&self.container));
        for (set, text) in [
            (self.follow, "&follow=true".to_owned()),
            (self.previous, "&previous=true".to_owned()),
            (self.timestamps, "&timestamps=true".to_owned()),
            (self.tail.is_some(), format!("&tailLines={}", self.tail.unwrap_or(0))),
            (self.since_seconds.is_some(), format!("&sinceSeconds={}", self.since_seconds.unwrap_or(0))),
        ] {
            if set {
                query.push_str(&text);
            }
        }
        query
    }
}

/// Container names are DNS labels; anything else is made harmless.
fn percent(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' }).collect()
}

impl Cluster {
    /// Hands over each line of a container's log until it ends, or, when it is
    /// followed, until the container does. No request timeout applies.
    ///
    /// # Errors
    /// When the log may not or cannot be read.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        options: &LogOptions,
        mut line: impl FnMut(&str) + Send,
    ) -> Result<(), ClusterError> {
        let pods = Kind::known(Gvk::new("v1", "Pod"), "pods", true);
        let key = ObjectKey {
            group: String::new(),
            kind: "Pod".into(),
            namespace: namespace.into(),
            name: pod.into(),
        };
        let what = format!("log of {key}, container {}", options.container);
        let path = format!("{}/log?{}", pods.path_of(&key), options.query());
        let call = Call { method: Method::GET, path, headers: &[], body: Vec::new(), what: &what };
        let request = self.request(call)?;
        let response = self.client().send(request).await.map_err(|error| self.not_sent(&error))?;
        let (parts, mut body) = response.into_parts();
        if !parts.status.is_success() {
            let bytes = body.collect().await.map_err(|error| self.cut(&error))?.to_bytes();
            return Err(ClusterError::from_answer(self.server(), &what, parts.status, None, &bytes));
        }
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.cut(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line(String::from_utf8_lossy(&rest[..end]).trim_end_matches('\r'));
                rest.drain(..=end);
            }
            if rest.len() > LONGEST {
                line(&String::from_utf8_lossy(&rest));
                rest.clear();
            }
        }
        if !rest.is_empty() {
            line(&String::from_utf8_lossy(&rest));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that gives one answer, in these pieces.
    async fn answering(pieces: &'static [&'static str]) -> Cluster {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        Cluster::from_client(client, &url, "default", None)
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_sent() {
        let pieces = &["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", "one\ntw", "o\r\n", "\nlast"];
        let cluster = answering(pieces).await;
        let mut lines = Vec::new();
        cluster.log("n", "p", &LogOptions::default(), |line| lines.push(line.to_owned())).await.unwrap();
        assert_eq!(lines, ["one", "two", "", "last"]);
    }

    #[tokio::test]
    async fn a_refusal_names_pod_and_container() {
        let pieces = &[
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n",
            "{\"message\": \"pods \\\"p\\\" not found\"}",
        ];
        let cluster = answering(pieces).await;
        let options = LogOptions { container: "c".into(), ..LogOptions::default() };
        let error = cluster.log("n", "p", &options, |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "log of Pod n/p, container c: not found");
    }

    #[test]
    fn the_query_says_what_was_asked_for() {
        let options =
            LogOptions { container: "a&b".into(), follow: true, tail: Some(5), ..LogOptions::default() };
        assert_eq!(options.query(), "container=a_b&follow=true&tailLines=5");
    }
}
