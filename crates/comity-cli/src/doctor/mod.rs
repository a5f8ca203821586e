//! `comity doctor`: looks at everything that a chat needs, changes none of it, and says what to do.

mod certificate;
mod files;
mod net;
mod store;

use crate::Failure;
use crate::place::Place;
use clap::Args;
use comity_core::Profile;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Directory shared by `sandbox`, `partner` and `chat`.
    #[arg(long, default_value = "comity-data", env = "COMITY_DIR")]
    dir: PathBuf,
    /// The profile that chats go by: `sandbox`, `whatsapp-1.0.3`, or a file.
    #[arg(long, default_value = "sandbox", env = "COMITY_PROFILE", value_name = "NAME|FILE")]
    profile: String,
    /// One JSON object a check.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was looked at so far; each line is printed as soon as it is known.
struct Report {
    json: bool,
    failed: bool,
}

impl Report {
    fn line(&mut self, status: Status, check: &str, found: &dyn Display, advice: &str) {
        self.failed |= status == Status::Fail;
        if self.json {
            let advice = Some(advice).filter(|advice| !advice.is_empty());
            println!("{}", json!({ "status": status, "check": check, "found": found.to_string(), "advice": advice }));
            return;
        }
        let arrow = if advice.is_empty() { "" } else { " – " };
        println!("{:<4}  {check}: {found}{arrow}{advice}", status.as_str());
    }

    fn ok(&mut self, check: &str, found: impl Display) {
        self.line(Status::Ok, check, &found, "");
    }

    fn warn(&mut self, check: &str, found: impl Display, advice: &str) {
        self.line(Status::Warn, check, &found, advice);
    }

    fn fail(&mut self, check: &str, found: impl Display, advice: &str) {
        self.line(Status::Fail, check, &found, advice);
    }

    /// The value, if there is one.
    fn take<T>(&mut self, check: &str, result: Result<T, Failure>, advice: &str) -> Option<T> {
        result.map_err(|error| self.fail(check, error, advice)).ok()
    }
}

pub(crate) async fn run(args: DoctorArgs) -> Result<ExitCode, Failure> {
    let mut report = Report { json: args.json, failed: false };
    if !args.dir.is_dir() {
        report.fail("directory", format!("{} is not there", args.dir.display()), "run `comity sandbox`, or give --dir");
        return Ok(ExitCode::FAILURE);
    }
    let place = Place::at(&args.dir)?;
    files::permissions(&mut report, &place);
    files::space(&mut report, &place);
    let profile = report.take(
        "profile",
        crate::profile::read(&args.profile),
        "`comity profile show` prints one to start from; give its file with --profile",
    );
    if let Some(profile) = &profile {
        report.ok("profile", &args.profile);
        files::servers(&mut report, &place, profile).await;
    }
    let gatekeeper = report.take("gatekeeper.json", place.gatekeeper(), "start `comity sandbox` here");
    let partner = report.take("partner.json", place.partner(), "start `comity partner` here, after the sandbox");
    let net = net::Net::new()?;
    if let Some(gatekeeper) = &gatekeeper {
        net.gatekeeper(&mut report, gatekeeper).await;
        net.chat(&mut report, gatekeeper).await;
    }
    if let Some(partner) = &partner {
        net.partner(&mut report, partner).await;
    }
    if let (Some(gatekeeper), Some(partner)) = (&gatekeeper, &partner) {
        let profile = profile.clone().unwrap_or_default();
        net.token(&mut report, &place, partner, &profile).await;
        net.media(&mut report, &place).await;
        store::stores(&mut report, &place, gatekeeper, &profile).await;
    }
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The profiles of both ends must be one.
fn same_profile(ours: &Profile, theirs: &Profile) -> Vec<&'static str> {
    let pairs = ours.fields().into_iter().zip(theirs.fields());
    pairs.filter(|(ours, theirs)| ours.value != theirs.value).map(|(ours, _)| ours.name).collect()
}
