//! A team with a bad network: signs up once, then sends one checkpoint after another and never gives up on any.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::chance::Chance;
use crate::promises::{Promises, Sent};

/// Everybody's password here.
pub const PASSWORD: &str = "correct horse battery";
/// Bytes of one PATCH: small, so that every kill finds one in flight.
const PIECE: usize = 192 << 10;
/// Pause between pieces.
const BREATH: Duration = Duration::from_millis(40);
/// Submissions a team may have waiting: enough to keep the workers busy, few enough to be graded at the end.
const WAITING: usize = 2;

struct Team {
    client: Client,
    addresses: Vec<String>,
    turn: usize,
    cookies: BTreeMap<String, String>,
    csrf: String,
}

/// Competes until told to stop.
pub async fn compete(number: usize, seed: u64, addresses: Vec<String>, promises: &Promises) -> anyhow::Result<()> {
    let mut chance = Chance::new(seed ^ (number as u64 + 1) << 32);
    let mut team = Team::new(addresses, number)?;
    team.join(number).await.context("a team cannot sign up")?;
    let mut mine: Vec<Uuid> = Vec::new();
    for turn in 0.. {
        while team.waiting(&mine).await? >= WAITING {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if promises.stopping() {
            return Ok(());
        }
        let submission = team
            .send(&format!("team {number}, try {turn}"), promises, &mut chance)
            .await?;
        mine.push(submission);
    }
    Ok(())
}

/// What an organizer does in the morning: orders new grades of what was set aside because it cost two workers.
pub async fn release(addresses: Vec<String>, submissions: &[Uuid]) -> anyhow::Result<()> {
    let mut organizer = Team::new(addresses, 0)?;
    organizer.log_in("organizer@example.org").await?;
    for submission in submissions {
        let path = format!("/admin/submissions/{submission}/rerun");
        organizer
            .form(
                "/team",
                &path,
                &[("reason", "its workers were killed"), ("back", "/admin")],
            )
            .await?;
    }
    Ok(())
}

impl Team {
    fn new(addresses: Vec<String>, turn: usize) -> anyhow::Result<Team> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Team {
            client,
            addresses,
            turn,
            cookies: BTreeMap::new(),
            csrf: String::new(),
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = &self.addresses[self.turn % self.addresses.len()];
        let jar: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self
            .client
            .request(method, format!("{address}{path}"))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", jar.join("; "));
        if self.csrf.is_empty() {
            request
        } else {
            request.header("x-csrf-token", &self.csrf)
        }
    }

    /// Sends until something other than "not now" comes back. The other server is tried in turn, as a load balancer would.
    async fn insist(&mut self, what: impl Fn(&Team) -> RequestBuilder) -> anyhow::Result<Response> {
        for _ in 0..600 {
            match what(self).send().await {
                Ok(answer)
                    if !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
                {
                    return Ok(answer);
                }
                _ => {
                    self.turn += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        bail!("no server answered for two minutes")
    }

    async fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let name = format!("Team {number}");
        let email = format!("team{number}@example.org");
        self.form(
            "/signup",
            "/signup",
            &[("name", &name), ("email", &email), ("password", PASSWORD)],
        )
        .await?;
        self.form("/team", "/team", &[("name", &name)]).await?;
        let page = self.page("/team").await?;
        self.csrf = token(&page)?;
        Ok(())
    }

    async fn page(&mut self, path: &str) -> anyhow::Result<String> {
        let answer = self.insist(|team| team.request(Method::GET, path)).await?;
        self.keep_cookies(&answer);
        anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(answer.text().await?)
    }

    async fn form(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> anyhow::Result<()> {
        let csrf = token(&self.page(page).await?)?;
        let mut fields = fields.to_vec();
        fields.push(("csrf", &csrf));
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let body = body.join("&");
        let answer = self
            .insist(|team| {
                team.request(Method::POST, action)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body.clone())
            })
            .await?;
        self.keep_cookies(&answer);
        let status = answer.status();
        anyhow::ensure!(status.is_redirection(), "{action}: {status}: {}", answer.text().await?);
        Ok(())
    }

    fn keep_cookies(&mut self, answer: &Response) {
        for line in answer.headers().get_all("set-cookie") {
            let pair = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    async fn log_in(&mut self, email: &str) -> anyhow::Result<()> {
        self.form("/login", "/login", &[("email", email), ("password", PASSWORD)])
            .await
    }

    /// How many of `mine` are not graded yet.
    async fn waiting(&mut self, mine: &[Uuid]) -> anyhow::Result<usize> {
        let mut waiting = 0;
        for submission in mine.iter().rev().take(WAITING + 1) {
            let state = self.state(*submission).await?;
            waiting += usize::from(state == "queued" || state == "running" || state == "received");
        }
        Ok(waiting)
    }

    async fn state(&mut self, submission: Uuid) -> anyhow::Result<String> {
        let path = format!("/api/v1/submissions/{submission}");
        let answer = self.insist(|team| team.request(Method::GET, &path)).await?;
        anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        let body: Value = answer.json().await?;
        Ok(body["state"].as_str().unwrap_or_default().to_owned())
    }

    /// One submission from the manifest to "accepted".
    async fn send(&mut self, title: &str, promises: &Promises, chance: &mut Chance) -> anyhow::Result<Uuid> {
        let files = checkpoint(title)?;
        let manifest: Vec<Value> = files
            .iter()
            .map(|(name, bytes)| json!({ "name": name, "bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes.as_slice())) }))
            .collect();
        let manifest = json!({ "title": title, "files": manifest });
        let answer = self
            .insist(|team| team.request(Method::POST, "/api/v1/submissions").json(&manifest))
            .await?;
        let status = answer.status();
        anyhow::ensure!(
            status == StatusCode::CREATED,
            "declaring: {status}: {}",
            answer.text().await?
        );
        let draft: Value = answer.json().await?;
        let submission: Uuid = draft["id"].as_str().context("no id")?.parse()?;
        for file in draft["files"].as_array().context("no files")? {
            let id: Uuid = file["id"].as_str().context("no file id")?.parse()?;
            let name = file["name"].as_str().context("no name")?;
            let content = files[name].clone();
            let sent = Sent {
                submission,
                name: name.to_owned(),
                content: content.clone(),
                acknowledged: 0,
            };
            promises.with(|told| told.files.insert(id, sent));
            if file["state"].as_str() != Some("complete") {
                self.upload(id, &content, promises, chance).await?;
            }
        }
        let path = format!("/api/v1/submissions/{submission}/submit");
        let answer = self.insist(|team| team.request(Method::POST, &path)).await?;
        let status = answer.status();
        anyhow::ensure!(status.is_success(), "submitting: {status}: {}", answer.text().await?);
        promises.accepted(submission);
        Ok(submission)
    }

    /// tus, as a client with a bad memory: after any doubt it asks for the offset and goes on from there.
    async fn upload(
        &mut self,
        id: Uuid,
        content: &[u8],
        promises: &Promises,
        chance: &mut Chance,
    ) -> anyhow::Result<()> {
        let path = format!("/files/{id}");
        loop {
            let answer = self
                .insist(|team| team.request(Method::HEAD, &path).header("tus-resumable", "1.0.0"))
                .await?;
            anyhow::ensure!(answer.status().is_success(), "HEAD {path}: {}", answer.status());
            let mut offset = offset_of(&answer).context("HEAD without an offset")?;
            promises.offset(id, offset);
            while (offset as usize) < content.len() {
                let end = content
                    .len()
                    .min(offset as usize + PIECE / 2 + chance.below(PIECE as u64) as usize);
                let piece = content[offset as usize..end].to_vec();
                let sent = self
                    .request(Method::PATCH, &path)
                    .header("tus-resumable", "1.0.0")
                    .header("upload-offset", offset)
                    .header("content-type", "application/offset+octet-stream")
                    .body(piece)
                    .send()
                    .await;
                match sent {
                    Ok(answer) if answer.status() == StatusCode::NO_CONTENT => {
                        offset = offset_of(&answer).context("PATCH without an offset")?;
                        promises.offset(id, offset);
                        tokio::time::sleep(BREATH).await;
                    }
                    Ok(answer) if answer.status() == StatusCode::GONE => {
                        bail!("{path} is gone: {}", answer.text().await?);
                    }
                    _ => break,
                }
            }
            if offset as usize >= content.len() {
                return Ok(());
            }
            self.turn += 1;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
}

fn offset_of(answer: &Response) -> Option<u64> {
    answer.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

fn token(page: &str) -> anyhow::Result<String> {
    let after = page
        .split("name=\"csrf\"")
        .nth(1)
        .context("a page without a form token")?;
    after
        .split('"')
        .nth(1)
        .map(str::to_owned)
        .context("a page without a form token")
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// A checkpoint that nobody has sent before: a compressed one with `title` in the metadata of its header.
fn checkpoint(title: &str) -> anyhow::Result<BTreeMap<String, Arc<Vec<u8>>>> {
    let folder = crate::parts::root().join("tests/fixtures/checkpoints/w4a16-gptq");
    let mut files = BTreeMap::new();
    for name in ["config.json", "recipe.yaml", "model.safetensors"] {
        let mut bytes = std::fs::read(folder.join(name))?;
        if name == "model.safetensors" {
            bytes = retitle(&bytes, title)?;
        }
        files.insert(name.to_owned(), Arc::new(bytes));
    }
    Ok(files)
}

/// Safetensors: 8 bytes of header length, the header in JSON, the data. Only the header changes.
fn retitle(bytes: &[u8], title: &str) -> anyhow::Result<Vec<u8>> {
    let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length])?;
    header["__metadata__"]["title"] = json!(title);
    let mut text = serde_json::to_vec(&header)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut changed = (text.len() as u64).to_le_bytes().to_vec();
    changed.extend_from_slice(&text);
    changed.extend_from_slice(&bytes[8 + length..]);
    Ok(changed)
}
