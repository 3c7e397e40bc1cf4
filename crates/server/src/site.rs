//! What is served over plain HTTP beside `/health`: the console, `/ready` and `/metrics`.
//!
//! A request comes in as a path and goes out as a reply, so that all of it can be tested without a
//! socket. The gateway owns the connection.

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use rust_embed::{EmbeddedFile, RustEmbed};
use tidegate_gateway::{HttpReply, HttpRequest};

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

fn reply(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> HttpReply {
    HttpReply {
        status,
        content_type,
        headers: vec![("x-content-type-options", "nosniff".to_owned())],
        body: body.into(),
    }
}

/// Adds headers.
fn with<const N: usize>(mut reply: HttpReply, headers: [(&'static str, String); N]) -> HttpReply {
    reply.headers.extend(headers);
    reply
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

    /// The answer to whoever asks on the clients' address, or `None` when there is nothing there.
    pub(crate) fn answer(&self, request: HttpRequest<'_>) -> Option<HttpReply> {
        self.machine_answer(request.path)
            .or_else(|| console_answer(request))
    }

    /// The same when machines have an address of their own: what is measured is not for clients
    /// then.
    pub(crate) fn client_answer(&self, request: HttpRequest<'_>) -> Option<HttpReply> {
        match request.path {
            "/metrics" => Some(reply(404, PLAIN_TEXT, "Not here.\n")),
            _ => self.answer(request),
        }
    }

    /// The part of the site that machines read: `/ready` and `/metrics`.
    pub(crate) fn machine_answer(&self, path: &str) -> Option<HttpReply> {
        match path {
            "/ready" => {
                let status = if self.readiness.is_ready() { 200 } else { 503 };
                let answer = reply(status, "application/json", self.readiness.json());
                Some(with(answer, [("cache-control", "no-store".to_owned())]))
            }
            "/metrics" => Some(reply(200, METRICS_TEXT, self.metrics.render())),
            _ => None,
        }
    }
}

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

fn console_answer(request: HttpRequest<'_>) -> Option<HttpReply> {
    let name = match request.path {
        "/" => "index.html",
        path => path.strip_prefix('/')?,
    };
    // Names of files inside the folder only, whatever the embedding does with others in a debug
    // build.
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !name.split('/').all(plain) || name.contains('\\') {
        return None;
    }
    match Console::get(name) {
        Some(file) => Some(file_answer(name, file, request.if_none_match)),
        None if request.path == "/" => Some(reply(200, PLAIN_TEXT, FALLBACK)),
        None => None,
    }
}

fn file_answer(name: &str, file: EmbeddedFile, if_none_match: Option<&str>) -> HttpReply {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{digits}\"");
    let known = |header: &str| header.split(',').any(|one| one.trim() == tag);
    let answer = if if_none_match.is_some_and(known) {
        reply(304, content_type(name), Bytes::new())
    } else {
        reply(200, content_type(name), file.data.into_owned())
    };
    let headers = [
        ("etag", tag),
        // Keep it, but ask each time: a new version of the program shows at once.
        ("cache-control", "no-cache".to_owned()),
        (
            "content-security-policy",
            CONTENT_SECURITY_POLICY.to_owned(),
        ),
        ("referrer-policy", "no-referrer".to_owned()),
    ];
    with(answer, headers)
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
    //! Shows what each path answers, that nothing outside the console's folder is served, and that
    //! a browser which has a file already does not get it again.

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tidegate_gateway::{HttpReply, HttpRequest};

    use super::Site;
    use crate::config::Roles;
    use crate::readiness::{Part, Readiness};

    fn readiness(roles: &str) -> Readiness {
        Readiness::new(&Roles::parse(roles).expect("roles"))
    }

    fn site(readiness: &Readiness) -> Site {
        let recorder = PrometheusBuilder::new().build_recorder();
        Site::new(readiness.clone(), recorder.handle())
    }

    fn get(site: &Site, path: &str, if_none_match: Option<&str>) -> Option<HttpReply> {
        site.answer(HttpRequest {
            path,
            if_none_match,
        })
    }

    fn header<'a>(reply: &'a HttpReply, name: &str) -> Option<&'a str> {
        let (_, value) = reply.headers.iter().find(|(header, _)| *header == name)?;
        Some(value)
    }

    #[test]
    fn the_console_is_served_with_its_types_and_its_policy() {
        let site = site(&readiness("all"));
        let index = get(&site, "/", None).expect("always there");
        assert_eq!(index.status, 200);
        assert_eq!(index.content_type, "text/html; charset=utf-8");
        assert_eq!(header(&index, "x-content-type-options"), Some("nosniff"));
        let policy = header(&index, "content-security-policy").expect("set");
        assert!(policy.starts_with("default-src 'self';"));
        let tag = header(&index, "etag").expect("set");
        let known = format!("\"other\", {tag}");
        let again = get(&site, "/", Some(&known)).expect("always there");
        assert_eq!((again.status, again.body.len()), (304, 0));
        let style = get(&site, "/style.css", None).expect("a file");
        assert_eq!(style.content_type, "text/css; charset=utf-8");
    }

    #[test]
    fn nothing_else_is_served() {
        let site = site(&readiness("all"));
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
            assert!(get(&site, path, None).is_none(), "{path}");
        }
    }

    #[test]
    fn readiness_is_a_status_and_names_what_is_missing() {
        let readiness = readiness("all");
        let site = site(&readiness);
        for part in [
            Part::Bus,
            Part::Database,
            Part::Relay,
            Part::Processor,
            Part::Cache,
        ] {
            readiness.set(part);
        }
        let reply = get(&site, "/ready", None).expect("always there");
        let parts = "{\"bus\":true,\"cache\":true,\"database\":true,\"relay\":true,\
                     \"processor\":true,\"gateway\":false}";
        assert_eq!(reply.status, 503);
        assert_eq!(reply.body, format!("{{\"ready\":false,\"parts\":{parts}}}"));
        readiness.set(Part::Gateway);
        assert_eq!(
            get(&site, "/ready", None).expect("always there").status,
            200
        );
    }

    /// A process waits for its own parts only.
    #[test]
    fn readiness_is_of_the_roles() {
        let readiness = readiness("processor");
        let site = site(&readiness);
        for part in [Part::Bus, Part::Cache, Part::Database] {
            readiness.set(part);
        }
        let status = || get(&site, "/ready", None).expect("always there").status;
        assert_eq!(status(), 503);
        readiness.set(Part::Processor);
        assert_eq!(status(), 200);
        let parts = "{\"bus\":true,\"cache\":true,\"database\":true,\"processor\":true}";
        assert!(readiness.json().contains(parts), "{}", readiness.json());
    }

    /// Clients see what is measured, unless machines have an address of their own.
    #[test]
    fn metrics_are_text() {
        let site = site(&readiness("all"));
        let reply = get(&site, "/metrics", None).expect("always there");
        assert!(reply.content_type.starts_with("text/plain; version="));
        let request = HttpRequest {
            path: "/metrics",
            if_none_match: None,
        };
        let reply = site.client_answer(request).expect("always there");
        assert_eq!(reply.status, 404);
    }
}
