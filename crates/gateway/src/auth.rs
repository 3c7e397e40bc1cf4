//! Who is on the other end: from an upgrade request to a [`Principal`], or a refusal.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HeaderMap, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value as Json;
use tidegate_core::{Tenancy, TenantId, UserId};
use tidegate_protocol::{ErrorCode, WireError};

/// The protocol that a browser offers beside `bearer.TOKEN`, and that the server answers with.
pub(crate) const SUBPROTOCOL: &str = "tidegate";
const BEARER_PREFIX: &str = "bearer.";

/// Who may be believed.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Anybody, about anything: for development. The gateway then listens on loopback only.
    None,
    /// A trusted proxy, which sets `x-tenant` and `x-user-id`. Both are required.
    Headers,
    /// Whoever brings a signed token.
    Jwt(JwtConfig),
}

/// How tokens are checked.
#[derive(Clone)]
pub struct JwtConfig {
    algorithm: Algorithm,
    key: DecodingKey,
    tenant_claim: String,
    user_claim: String,
    audience: Option<String>,
    issuer: Option<String>,
}

impl std::fmt::Debug for JwtConfig {
    // The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtConfig")
            .field("algorithm", &self.algorithm)
            .field("tenant_claim", &self.tenant_claim)
            .field("user_claim", &self.user_claim)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Which signatures are taken. One only, so that a token cannot choose how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// A shared secret.
    Hs256,
    /// RSA, public key as PEM.
    Rs256,
    /// ECDSA over P-256, public key as PEM.
    Es256,
    /// Ed25519, public key as PEM.
    EdDsa,
}

/// Why a token configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key is not one for {algorithm:?}")]
pub struct JwtConfigError {
    algorithm: JwtAlgorithm,
    #[source]
    source: Option<jsonwebtoken::errors::Error>,
}

/// Bytes of a shared secret below which it can be guessed (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

impl JwtConfig {
    /// Takes a key: for HS256 the secret's bytes, for the others a public key as PEM.
    ///
    /// # Errors
    /// When the key is not one for the algorithm, or a secret has fewer than 32 bytes.
    pub fn new(algorithm: JwtAlgorithm, key: &[u8]) -> Result<Self, JwtConfigError> {
        let (kind, decoded) = match algorithm {
            JwtAlgorithm::Hs256 if key.len() < SECRET_BYTES_MIN => {
                let source = None;
                return Err(JwtConfigError { algorithm, source });
            }
            JwtAlgorithm::Hs256 => (Algorithm::HS256, Ok(DecodingKey::from_secret(key))),
            JwtAlgorithm::Rs256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(key)),
            JwtAlgorithm::Es256 => (Algorithm::ES256, DecodingKey::from_ec_pem(key)),
            JwtAlgorithm::EdDsa => (Algorithm::EdDSA, DecodingKey::from_ed_pem(key)),
        };
        let key = decoded.map_err(|source| JwtConfigError {
            algorithm,
            source: Some(source),
        })?;
        Ok(Self {
            algorithm: kind,
            key,
            tenant_claim: "tenant".to_owned(),
            user_claim: "sub".to_owned(),
            audience: None,
            issuer: None,
        })
    }

    /// Names the claims that hold the tenant and the user. Without this: `tenant` and `sub`.
    #[must_use]
    pub fn with_claims(mut self, tenant: &str, user: &str) -> Self {
        self.tenant_claim = tenant.to_owned();
        self.user_claim = user.to_owned();
        self
    }

    /// Requires an audience. Without this, whatever audience a token names is not looked at.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Requires an issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.to_owned());
        self
    }

    fn validation(&self) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        // A session ends when its token does, so every token must say when.
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_exp = true;
        validation.validate_nbf = true;
        validation.leeway = 0;
        // With no audience configured the library refuses tokens that name one.
        validation.validate_aud = self.audience.is_some();
        validation.aud = self
            .audience
            .iter()
            .cloned()
            .map(|aud| HashSet::from([aud]))
            .next();
        validation.iss = self
            .issuer
            .iter()
            .cloned()
            .map(|iss| HashSet::from([iss]))
            .next();
        if self.audience.is_some() {
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if self.issuer.is_some() {
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
    }
}

/// Who a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data it sees.
    pub tenant: TenantId,
    /// As whom.
    pub user: UserId,
    /// When it stops being believed: seconds since 1970.
    pub expires_at: Option<u64>,
}

/// Whether the answer to the upgrade names a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    None,
    Tidegate,
}

/// A refused upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status: 401 when another proof would help, 403 when none would.
    pub(crate) status: u16,
    pub(crate) error: WireError,
}

impl Refusal {
    fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            status: 401,
            error: WireError::new(ErrorCode::Unauthorized, message),
        }
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: 403,
            error: WireError::new(ErrorCode::Forbidden, message),
        }
    }
}

impl Auth {
    /// Whether a gateway may listen there. Without authentication, only this machine may ask.
    pub(crate) fn may_listen_on(&self, address: SocketAddr) -> bool {
        match self {
            Self::None => address.ip().is_loopback(),
            Self::Headers | Self::Jwt(_) => true,
        }
    }

    /// Without authentication, listening on loopback keeps other machines out but not other sites:
    /// any page that a browser on this machine shows could connect. So a browser must come from a
    /// page of this machine. (What is no browser sends no origin.)
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match (self, headers.get(ORIGIN)) {
            (Self::None, Some(origin)) if !is_local_origin(origin.to_str().unwrap_or_default()) => {
                let why = "without authentication only pages of this machine may connect";
                Err(Refusal::forbidden(why))
            }
            (Self::None | Self::Headers | Self::Jwt(_), _) => Ok(()),
        }
    }

    /// Says who asks for an upgrade.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        tenancy: &Tenancy,
    ) -> Result<(Principal, Subprotocol), Refusal> {
        let subprotocol = offered_subprotocol(headers);
        self.check_origin(headers)?;
        let (tenant, user, expires_at) = match self {
            Self::None => {
                let parameter = |name| query_parameter(query, name);
                let tenant = header(headers, "x-tenant").or_else(|| parameter("tenant"));
                let user = header(headers, "x-user-id").or_else(|| parameter("user"));
                let tenant = tenant.unwrap_or_else(|| "demo".to_owned());
                (tenant, user.unwrap_or_else(|| "anonymous".to_owned()), None)
            }
            Self::Headers => {
                let required = |name: &str| {
                    header(headers, name)
                        .ok_or_else(|| Refusal::unauthorized(format!("{name} is missing")))
                };
                (required("x-tenant")?, required("x-user-id")?, None)
            }
            Self::Jwt(config) => config.verify(headers)?,
        };
        let tenant = TenantId::parse(&tenant)
            .and_then(|tenant| tenancy.admit(&tenant))
            .map_err(|error| Refusal::forbidden(error.to_string()))?;
        let user = UserId::parse(&user).map_err(|error| Refusal::forbidden(error.to_string()))?;
        let principal = Principal {
            tenant,
            user,
            expires_at,
        };
        Ok((principal, subprotocol))
    }
}

impl JwtConfig {
    fn verify(&self, headers: &HeaderMap) -> Result<(String, String, Option<u64>), Refusal> {
        let token = bearer_token(headers).ok_or_else(|| {
            let why = "a token is needed, in Authorization or Sec-WebSocket-Protocol";
            Refusal::unauthorized(why)
        })?;
        let claims = jsonwebtoken::decode::<Json>(&token, &self.key, &self.validation())
            .map_err(|error| Refusal::unauthorized(format!("the token was refused: {error}")))?
            .claims;
        let text = |name: &str| match claims.get(name) {
            Some(Json::String(text)) => Ok(text.clone()),
            Some(_) | None => {
                let why = format!("the token has no claim {name:?} that is a text");
                Err(Refusal::forbidden(why))
            }
        };
        let expires_at = claims.get("exp").and_then(|exp| match exp.as_u64() {
            Some(whole) => Some(whole),
            None => exp.as_f64().map(|seconds| seconds as u64),
        });
        Ok((
            text(&self.tenant_claim)?,
            text(&self.user_claim)?,
            expires_at,
        ))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Whether an origin, `scheme://host:port`, is on this machine.
fn is_local_origin(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_name = host == "localhost" || host.ends_with(".localhost");
    is_name
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A parameter of the query string, percent-decoding undone.
fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    let value = query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?
        .1;
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            plain => plain,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.is_empty())
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// The server names the protocol only when the client offered it: a browser fails the connection
/// otherwise, in both directions.
fn offered_subprotocol(headers: &HeaderMap) -> Subprotocol {
    match protocols(headers).any(|offered| offered == SUBPROTOCOL) {
        true => Subprotocol::Tidegate,
        false => Subprotocol::None,
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(authorization) = header(headers, AUTHORIZATION.as_str()) {
        let (scheme, token) = authorization.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned());
    }
    protocols(headers)
        .find_map(|offered| offered.strip_prefix(BEARER_PREFIX))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
