//! Reference gatekeeper (sandbox): enlistment, chat, media relay, push, mailbox.
