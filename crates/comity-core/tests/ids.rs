//! The grammar of identifiers (PROTOCOL §2).

use comity_core::{Jid, PartnerUser, Redacted, Secret, Server};

#[test]
fn partner_user_grammar() {
    for (text, canonical) in [
        ("1-10853634039893@interop", "1-10853634039893@interop"),
        ("12-105012705411308:0@interop", "12-105012705411308@interop"),
        ("999-999999999999999@interop", "999-999999999999999@interop"),
    ] {
        let user: PartnerUser = text.parse().unwrap();
        assert_eq!(user.to_string(), canonical);
        assert_eq!(user.jid().to_string(), canonical);
        assert_eq!(text.parse::<Jid>().unwrap(), user.jid());
    }
    for bad in [
        "0-1@interop",
        "1000-1@interop",
        "1-01@interop",
        "1-1234567890123456@interop",
        "1-1:1@interop",
        "1-1:0:0@interop",
        "1-1:00@interop",
        "01-1@interop",
        "1-@interop",
        "-1@interop",
        "1-0@interop",
        "1@interop",
        "1-1.0:0@interop",
        "1-1@lid",
        "interop",
        "@interop",
        "1-+1@interop",
        "1-1@interop ",
        "",
    ] {
        assert!(bad.parse::<PartnerUser>().is_err(), "{bad} was accepted");
    }
}

#[test]
fn jid_text_round_trip() {
    for text in [
        "s.whatsapp.net",
        "14155551001@s.whatsapp.net",
        "14155551001:7@s.whatsapp.net",
        "123456@lid",
        "5:99@hosted",
        "120363025246125486@g.us",
        "status@broadcast",
        "100001234:999@msgr",
        "65535-abc:3@interop",
        "g.us",
        "x-y@interop",
    ] {
        assert_eq!(text.parse::<Jid>().unwrap().to_string(), text);
    }
    assert_eq!("1.0:5@lid".parse::<Jid>().unwrap(), "1:5@lid".parse().unwrap());
    assert_eq!("1:0@lid".parse::<Jid>().unwrap().to_string(), "1@lid");
    for bad in ["", "@lid", "a@b@lid", "1@nowhere", "nowhere", "1:x@lid", "1:65536@lid", "1:01@lid", "a\n@lid"] {
        assert!(bad.parse::<Jid>().is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn interop_pair_and_parts_are_one_identity() {
    let parts = Jid::interop(12, "105012705411308", 0).unwrap();
    assert_eq!(parts, Jid::new("12-105012705411308", Server::Interop).unwrap());
    assert_eq!(parts.integrator(), 12);
    assert_eq!(PartnerUser::try_from(&parts).unwrap().signal_name(), "12-105012705411308");
}

#[test]
fn debug_and_redacted_show_no_id() {
    let jid: Jid = "14155551001@s.whatsapp.net".parse().unwrap();
    let user: PartnerUser = "1-10853634039893@interop".parse().unwrap();
    for shown in [format!("{jid:?}"), format!("{user:?}"), Redacted(&jid).to_string()] {
        assert!(!shown.contains("14155551001") && !shown.contains("10853634039893"), "{shown}");
    }
    assert_eq!(format!("{:?}", Secret::new([7u8; 4])), "Secret(..)");
}
