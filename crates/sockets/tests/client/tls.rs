//! Connections with TLS, to servers with a private authority.

use std::fs;
use std::sync::Arc;

use fanfeed_sockets::{Client, ClientBuildError, ClientPublisher, JoinError, JoinOptions, Message};
use fanfeed_testkit::Authority;
use fanfeed_testkit::tls::Identity;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::common::{Peer, quick, within};

fn acceptor(identity: &Identity, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let root =
                CertificateDer::from_pem_file(authority.certificate()).expect("a certificate");
            roots.add(root).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let certificate = CertificateDer::from_pem_file(&identity.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
    let config = builder
        .with_single_cert(vec![certificate], key)
        .expect("a config");
    TlsAcceptor::from(Arc::new(config))
}

/// Serves connections, each of which is welcomed and echoed, and returns the URL.
async fn serve(acceptor: TlsAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut peer) = Peer::accept(stream, StatusCode::SWITCHING_PROTOCOLS).await {
                    peer.welcome("member").await;
                    while let Some(frame) = peer.frame().await {
                        if let tokio_tungstenite::tungstenite::Message::Text(text) = frame {
                            peer.send(text.to_string()).await;
                        }
                    }
                }
            });
        }
    });
    format!("wss://localhost:{port}/ws")
}

fn pem(path: &std::path::Path) -> Vec<u8> {
    fs::read(path).expect("the file is there")
}

#[tokio::test]
async fn a_server_of_a_private_authority_is_trusted_when_the_authority_is_given() {
    let authority = Authority::new("private");
    let url = serve(acceptor(&authority.server(&["localhost"]), None)).await;
    let stranger = quick().build().expect("a runtime");
    let error = stranger.join(&url, "room", JoinOptions::new()).await;
    error.expect_err("nobody vouches for the server");
    let other = Authority::new("other");
    let client = quick()
        .tls_authorities(pem(other.certificate()))
        .build()
        .expect("a runtime");
    let error = client.join(&url, "room", JoinOptions::new()).await;
    assert!(matches!(error, Err(JoinError::Io(_))), "{error:?}");

    let client = quick()
        .tls_authorities(pem(authority.certificate()))
        .build()
        .expect("a runtime");
    let room = client
        .join(&url, "room", JoinOptions::new())
        .await
        .expect("joined");
    within("join.success", room.joined()).await.expect("joined");
    let question = Message::new("ask", "", "")
        .with_body(&"x".repeat(100_000))
        .expect("JSON");
    let answer = room.request(question, super::common::PATIENCE).await;
    assert_eq!(answer.expect("an answer").raw_body().len(), 100_002);
    let wrong_name = url.replace("localhost", "127.0.0.1");
    let error = client.join(&wrong_name, "room", JoinOptions::new()).await;
    assert!(matches!(error, Err(JoinError::Io(_))), "{error:?}");
    room.leave().await;
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let client = quick().build().expect("a runtime");
    let url = format!("wss://{address}");
    let error = client.join(&url, "room", JoinOptions::new()).await;
    let error = error.expect_err("it speaks no TLS").to_string();
    assert!(
        error.contains("TLS handshake") && error.contains("ws://"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_one() {
    let authority = Authority::new("private");
    let url = serve(acceptor(
        &authority.server(&["localhost"]),
        Some(&authority),
    ))
    .await;
    let trusting = || quick().tls_authorities(pem(authority.certificate()));
    let error = trusting()
        .build()
        .expect("a runtime")
        .join(&url, "room", JoinOptions::new())
        .await;
    error.expect_err("the server wants a certificate");
    let own = authority.client("me");
    let client = trusting()
        .tls_identity(pem(&own.certificate), pem(&own.key))
        .build()
        .expect("a runtime");
    let room = client
        .join(&url, "room", JoinOptions::new())
        .await
        .expect("joined");
    within("join.success", room.joined()).await.expect("joined");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_when_the_client_is_built() {
    for builder in [
        Client::builder().tls_authorities("no certificate"),
        Client::builder().tls_identity("no certificate", "no key"),
    ] {
        let error = builder.build().expect_err("no PEM");
        assert!(matches!(error, ClientBuildError::Tls(_)), "{error:?}");
    }
}
