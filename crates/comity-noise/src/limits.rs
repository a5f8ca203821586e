//! Every bound of this crate, by name (PROTOCOL §5.1, §5.2).

use core::time::Duration;

/// Longest frame body: what three length bytes can say.
pub const MAX_FRAME: usize = (1 << 24) - 1;

/// Bytes of a frame's length.
pub const FRAME_HEADER: usize = 3;

/// Bytes of an AES-GCM tag.
pub const TAG: usize = 16;

/// Longest plaintext of one transport message.
pub const MAX_PLAINTEXT: usize = MAX_FRAME - TAG;

/// Longest handshake message, as a frame body. A login with its token and post-quantum fields stays well below; with the
/// handshake's state it keeps a connection that has not logged in under 10 KiB.
pub const MAX_HANDSHAKE_FRAME: usize = 5 * 1024 + 512;

/// Longest payload a handshake message of ours may carry: the frame less keys, tags and protobuf framing.
pub const MAX_HANDSHAKE_PAYLOAD: usize = MAX_HANDSHAKE_FRAME - 256;

/// Longest edge-routing value before the prologue.
pub const MAX_EDGE_ROUTING: usize = 512;

/// Last value of a direction's message counter.
pub const MAX_COUNTER: u64 = u32::MAX as u64;

/// Bytes sealed and not yet written from which on a writer refuses more: a frame of the largest size.
pub const MAX_WRITE_QUEUE: usize = MAX_FRAME + FRAME_HEADER;

/// Buffer that an idle connection keeps for reading; none for writing.
pub const IDLE_BUFFER: usize = 1024;

/// Most that is read at once before as much has arrived: what a declared length may cost.
pub const MAX_READ: usize = 8 * 1024;

/// Longest HTTP head of a WebSocket's upgrade, in bytes.
pub const MAX_UPGRADE: usize = 4 * 1024;

/// Most lines of it.
pub const MAX_UPGRADE_LINES: usize = 24;

/// Longest WebSocket frame taken. It costs no memory: a frame is taken in pieces of [`WEBSOCKET_READ`].
pub const MAX_WEBSOCKET_FRAME: u64 = 32 << 20;

/// Most bytes of a WebSocket frame that are held at once, before the login and after it.
pub const WEBSOCKET_READ: usize = 2 * 1024;

/// Longest WebSocket message sent.
pub const WEBSOCKET_PIECE: usize = 4 * 1024;

/// Most memory of a WebSocket connection before its login, the socket's own aside.
pub const MAX_WEBSOCKET_MEMORY: usize = 16 * 1024;

/// How long a handshake may take, from the first byte to the last.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection may be silent: three keep-alive periods of 30 s (PROTOCOL §5.5).
pub const IDLE_DEADLINE: Duration = Duration::from_secs(90);
