//! Who is let in, as whom, and who is not.

use hyper::header::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes or so";
/// Far ahead, in seconds.
const LATER: u64 = 4_000_000_000;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).expect("plain"))
        })
        .collect()
}

fn token(claims: &Json, secret: &[u8], algorithm: Algorithm) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("it signs")
}

fn jwt() -> JwtConfig {
    JwtConfig::new(JwtAlgorithm::Hs256, SECRET).expect("long enough")
}

/// The tenant and user, or the status of the refusal.
fn check(auth: &Auth, headers: &HeaderMap, query: Option<&str>) -> Result<(String, String), u16> {
    auth.authenticate(headers, query, &Tenancy::Prefix)
        .map(|(principal, _)| (principal.tenant.to_string(), principal.user.to_string()))
        .map_err(|refusal| refusal.status)
}

fn names(tenant: &str, user: &str) -> Result<(String, String), u16> {
    Ok((tenant.to_owned(), user.to_owned()))
}

/// In development headers win over the query string, and both over the old defaults.
#[test]
fn without_authentication_everybody_is_believed() {
    let none = headers(&[]);
    assert_eq!(check(&Auth::None, &none, None), names("demo", "anonymous"));
    let query = Some("tenant=acme&user=%C3%BCwe+x");
    assert_eq!(check(&Auth::None, &none, query), names("acme", "üwe x"));
    let both = headers(&[("x-tenant", "globex"), ("x-user-id", "bob")]);
    assert_eq!(check(&Auth::None, &both, query), names("globex", "bob"));
    for bad in ["tenant=a_b", "tenant=a%20b", "tenant=a%2"] {
        let result = check(&Auth::None, &none, Some(bad));
        assert!(
            matches!(result, Err(403)) || bad.ends_with("%2"),
            "{bad}: {result:?}"
        );
    }
    assert!(Auth::None.may_listen_on("127.0.0.1:1".parse().expect("an address")));
    assert!(Auth::None.may_listen_on("[::1]:1".parse().expect("an address")));
    assert!(!Auth::None.may_listen_on("192.0.2.1:1".parse().expect("an address")));
}

/// A page of another site must not use the browser of a developer to reach what only this machine
/// may.
#[test]
fn other_sites_are_kept_out() {
    for local in [
        "http://localhost:3000",
        "http://127.0.0.1:7000",
        "https://[::1]:1",
        "http://app.localhost",
    ] {
        let browser = headers(&[("origin", local)]);
        assert_eq!(
            check(&Auth::None, &browser, None),
            names("demo", "anonymous"),
            "{local}"
        );
    }
    for foreign in [
        "https://evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example:7000",
        "null",
        "",
    ] {
        let browser = headers(&[("origin", foreign)]);
        assert_eq!(check(&Auth::None, &browser, None), Err(403), "{foreign}");
    }
}

/// A proxy that forgets a header lets nobody in by default.
#[test]
fn a_proxy_names_both() {
    let both = headers(&[("x-tenant", "acme"), ("x-user-id", "ann")]);
    assert_eq!(check(&Auth::Headers, &both, None), names("acme", "ann"));
    for partial in [
        &[][..],
        &[("x-tenant", "acme")],
        &[("x-tenant", " "), ("x-user-id", "ann")],
    ] {
        let query = Some("tenant=acme&user=ann");
        assert_eq!(check(&Auth::Headers, &headers(partial), query), Err(401));
    }
}

/// A token is read from either place, and its claims name the principal and the end.
#[test]
fn a_token_names_its_bearer() {
    let claims = json!({"tenant": "acme", "sub": "ann", "exp": LATER, "aud": "whoever"});
    let token = token(&claims, SECRET, Algorithm::HS256);
    let auth = Auth::Jwt(jwt());
    let direct = headers(&[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(check(&auth, &direct, None), names("acme", "ann"));
    let offered = format!("tidegate, bearer.{token}");
    let browser = headers(&[("sec-websocket-protocol", &offered)]);
    let (principal, subprotocol) = auth
        .authenticate(&browser, None, &Tenancy::Prefix)
        .expect("it is valid");
    assert_eq!(
        (principal.expires_at, subprotocol),
        (Some(LATER), Subprotocol::Tidegate)
    );
    // The headers of a proxy mean nothing here.
    let forged = headers(&[("x-tenant", "globex"), ("x-user-id", "bob")]);
    assert_eq!(check(&auth, &forged, None), Err(401));
}

/// Tokens that are old, forged, for others, or without the claims.
#[test]
fn bad_tokens_are_refused() {
    let good = json!({"tenant": "acme", "sub": "ann", "exp": LATER});
    let with = |name: &str, value: Json| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let bearer = |token: &str| headers(&[("authorization", &format!("Bearer {token}"))]);
    let auth = Auth::Jwt(jwt());
    let refused = |claims: &Json| {
        check(
            &auth,
            &bearer(&token(claims, SECRET, Algorithm::HS256)),
            None,
        )
    };
    assert_eq!(refused(&good), names("acme", "ann"));
    assert_eq!(refused(&with("exp", json!(1_000))), Err(401), "expired");
    assert_eq!(
        refused(&with("nbf", json!(LATER))),
        Err(401),
        "not yet valid"
    );
    assert_eq!(refused(&with("exp", Json::Null)), Err(401), "endless");
    assert_eq!(refused(&with("tenant", json!(7))), Err(403));
    assert_eq!(refused(&with("tenant", json!("a_b"))), Err(403));
    let other = token(
        &good,
        b"another secret of thirty-two bytes",
        Algorithm::HS256,
    );
    assert_eq!(check(&auth, &bearer(&other), None), Err(401), "forged");
    let stronger = token(&good, SECRET, Algorithm::HS384);
    assert_eq!(
        check(&auth, &bearer(&stronger), None),
        Err(401),
        "another algorithm"
    );
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOiJhY21lIn0.";
    assert_eq!(check(&auth, &bearer(unsigned), None), Err(401), "unsigned");
    assert_eq!(
        check(&auth, &headers(&[("authorization", "Basic x")]), None),
        Err(401)
    );
}

/// Audience and issuer are required when they are configured.
#[test]
fn audience_and_issuer() {
    let auth = Auth::Jwt(
        jwt()
            .with_audience("tidegate")
            .with_issuer("idp")
            .with_claims("org", "uid"),
    );
    let check_claims = |claims: &Json| {
        let token = token(claims, SECRET, Algorithm::HS256);
        check(
            &auth,
            &headers(&[("authorization", &format!("Bearer {token}"))]),
            None,
        )
    };
    let good = json!({"org": "acme", "uid": "ann", "exp": LATER, "aud": "tidegate", "iss": "idp"});
    assert_eq!(check_claims(&good), names("acme", "ann"));
    for (name, value) in [("aud", json!("other")), ("iss", json!("other"))] {
        let mut wrong = good.clone();
        wrong[name] = value;
        assert_eq!(check_claims(&wrong), Err(401));
        wrong.as_object_mut().expect("an object").remove(name);
        assert_eq!(check_claims(&wrong), Err(401), "{name} is missing");
    }
}

/// Keys that are not of their kind, or that can be guessed, are refused when the gateway is made.
#[test]
fn bad_keys_are_refused() {
    assert!(JwtConfig::new(JwtAlgorithm::Hs256, b"short").is_err());
    for algorithm in [
        JwtAlgorithm::Rs256,
        JwtAlgorithm::Es256,
        JwtAlgorithm::EdDsa,
    ] {
        assert!(JwtConfig::new(algorithm, SECRET).is_err(), "{algorithm:?}");
    }
    let ed25519 = b"-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    assert!(JwtConfig::new(JwtAlgorithm::EdDsa, ed25519).is_ok());
}
