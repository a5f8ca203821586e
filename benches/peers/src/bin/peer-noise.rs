//! The other side of `cargo xtask bench noise`: snow with its default resolver.

#[path = "../../../src/side.rs"]
mod side;

use side::{Answer, Refused, serve, time};
use snow::{Builder, TransportState};
use std::error::Error;
use std::hint::black_box;

const NAME: &str = "Noise_XX_25519_AESGCM_SHA256";

fn main() -> Result<(), Box<dyn Error>> {
    serve(|bench, _| match bench {
        "xx" => {
            let keys = [key()?, key()?];
            log_in(&keys)?;
            Ok(time(|| drop(black_box(log_in(&keys)))))
        }
        "transport/60000" => transport(60_000),
        _ => Err("no such bench".into()),
    })
}

fn key() -> Result<Vec<u8>, Refused> {
    Ok(Builder::new(NAME.parse()?).generate_keypair()?.private)
}

/// A whole XX, both sides.
fn log_in([client, server]: &[Vec<u8>; 2]) -> Result<[TransportState; 2], Refused> {
    let builder = |key| -> Result<_, Refused> { Ok(Builder::new(NAME.parse()?).local_private_key(key)?) };
    let (mut client, mut server) = (builder(client)?.build_initiator()?, builder(server)?.build_responder()?);
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let len = client.write_message(&[], &mut message)?;
    server.read_message(&message[..len], &mut payload)?;
    let len = server.write_message(&[], &mut message)?;
    client.read_message(&message[..len], &mut payload)?;
    let len = client.write_message(&[], &mut message)?;
    server.read_message(&message[..len], &mut payload)?;
    Ok([client.into_transport_mode()?, server.into_transport_mode()?])
}

fn transport(len: usize) -> Result<Answer, Refused> {
    let [mut client, mut server] = log_in(&[key()?, key()?])?;
    let (plain, mut sealed, mut opened) = (vec![0x5a; len], vec![0; len + 16], vec![0; len + 16]);
    Ok(time(|| {
        let len = client.write_message(black_box(&plain), &mut sealed).expect("seals");
        black_box(server.read_message(&sealed[..len], &mut opened).expect("opens"));
    }))
}
