//! What is served over plain HTTP beside `/health`: the console, `/ready` and `/metrics`.
//!
//! A request comes in as a path and a few headers and goes out as an [`Answer`], so that all of it can be
//! tested without a socket. The gateway owns the connection.

use metrics_exporter_prometheus::PrometheusHandle;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::readiness::Readiness;

/// The files of the console. A debug build reads them from the folder, so a change shows on reload.
#[derive(RustEmbed)]
#[folder = "../../console/public"]
struct Console;

/// The console is served with no right to load or call anything but its own origin.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Shown when the build holds no console.
const FALLBACK: &str = "This is Tidegate. Connect with a WebSocket, or ask for /health, /ready or \
     /metrics.\n";

/// An answer to a GET or HEAD.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![
                ("content-type", content_type.to_owned()),
                ("x-content-type-options", "nosniff".to_owned()),
            ],
            body: body.into(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Everything the pages need.
#[derive(Clone)]
pub(crate) struct Site {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

impl Site {
    pub(crate) fn new(readiness: Readiness, metrics: PrometheusHandle) -> Self {
        Self { readiness, metrics }
    }

    /// The answer to a path, or `None` when there is nothing there.
    pub(crate) fn answer(&self, path: &str, if_none_match: Option<&str>) -> Option<Answer> {
        self.machine_answer(path)
            .or_else(|| console_answer(path, if_none_match))
    }

    /// The part of the site that machines read: `/ready` and `/metrics`.
    pub(crate) fn machine_answer(&self, path: &str) -> Option<Answer> {
        match path {
            "/ready" => {
                let status = if self.readiness.is_ready() { 200 } else { 503 };
                let answer = Answer::new(status, "application/json", self.readiness.json());
                Some(answer.with("cache-control", "no-store"))
            }
            "/metrics" => {
                let text = self.metrics.render();
                Some(Answer::new(
                    200,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                ))
            }
            _ => None,
        }
    }
}

fn console_answer(path: &str, if_none_match: Option<&str>) -> Option<Answer> {
    let name = match path {
        "/" => "index.html",
        path => path.strip_prefix('/')?,
    };
    // Names of files inside the folder only, whatever the embedding does with others in a debug build.
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !name.split('/').all(plain) || name.contains('\\') {
        return None;
    }
    match Console::get(name) {
        Some(file) => Some(file_answer(name, file, if_none_match)),
        None if path == "/" => Some(Answer::new(200, "text/plain; charset=utf-8", FALLBACK)),
        None => None,
    }
}

fn file_answer(name: &str, file: EmbeddedFile, if_none_match: Option<&str>) -> Answer {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{digits}\"");
    let known = |header: &str| header.split(',').any(|one| one.trim() == tag);
    let answer = match if_none_match.is_some_and(known) {
        true => Answer::new(304, content_type(name), Vec::new()),
        false => Answer::new(200, content_type(name), file.data.into_owned()),
    };
    // `no-cache` means: keep it, but ask each time. A new version of the program shows at once.
    answer
        .with("etag", tag)
        .with("cache-control", "no-cache")
        .with("content-security-policy", CONTENT_SECURITY_POLICY)
        .with("referrer-policy", "no-referrer")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    //! Shows what each path answers, that nothing outside the console's folder is served, and that a
    //! browser which has a file already does not get it again.

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{Answer, Site};
    use crate::readiness::{Part, Readiness};

    fn site(readiness: &Readiness) -> Site {
        let recorder = PrometheusBuilder::new().build_recorder();
        Site::new(readiness.clone(), recorder.handle())
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        let (_, value) = answer.headers.iter().find(|(header, _)| *header == name)?;
        Some(value)
    }

    #[test]
    fn the_console_is_served_with_its_types_and_its_policy() {
        let site = site(&Readiness::default());
        let index = site.answer("/", None).expect("always there");
        assert_eq!(index.status, 200);
        assert_eq!(
            header(&index, "content-type"),
            Some("text/html; charset=utf-8")
        );
        let policy = header(&index, "content-security-policy").expect("set");
        assert!(policy.starts_with("default-src 'self';"));
        let tag = header(&index, "etag").expect("set");
        let again = site.answer("/", Some(&format!("\"other\", {tag}")));
        let again = again.expect("always there");
        assert_eq!((again.status, again.body.len()), (304, 0));
        let style = site.answer("/style.css", None).expect("a file");
        assert_eq!(
            header(&style, "content-type"),
            Some("text/css; charset=utf-8")
        );
    }

    #[test]
    fn nothing_else_is_served() {
        let site = site(&Readiness::default());
        for path in [
            "/nothing.js",
            "/../package.json",
            "//etc/hosts",
            "/./index.html",
            "/.hidden",
            "/..\\test",
            "",
            "*",
        ] {
            assert!(site.answer(path, None).is_none(), "{path}");
        }
    }

    #[test]
    fn readiness_is_a_status_and_names_what_is_missing() {
        let readiness = Readiness::default();
        let site = site(&readiness);
        for part in [Part::Database, Part::Relay, Part::Processor] {
            readiness.set(part);
        }
        let answer = site.answer("/ready", None).expect("always there");
        let parts = "{\"database\":true,\"relay\":true,\"processor\":true,\"gateway\":false}";
        assert_eq!(answer.status, 503);
        assert_eq!(
            String::from_utf8(answer.body).expect("text"),
            format!("{{\"ready\":false,\"parts\":{parts}}}")
        );
        readiness.set(Part::Gateway);
        assert_eq!(
            site.answer("/ready", None).expect("always there").status,
            200
        );
    }

    #[test]
    fn metrics_are_text() {
        let answer = site(&Readiness::default()).answer("/metrics", None);
        let answer = answer.expect("always there");
        assert!(header(&answer, "content-type").is_some_and(|t| t.starts_with("text/plain")));
    }
}
