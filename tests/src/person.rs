//! Someone who signs up and makes drafts: the least a program needs of the pages.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// A browser's cookies, without the browser.
pub struct Person {
    /// Follows no redirects.
    pub http: Client,
    address: String,
    jar: BTreeMap<String, String>,
}

impl Person {
    /// Signs up at `address` and makes a team, both called `name`.
    ///
    /// # Errors
    /// The server did not answer as it does to a person.
    pub async fn in_a_team(address: &str, name: &str) -> anyhow::Result<Person> {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let mut person = Person {
            http,
            address: address.to_owned(),
            jar: BTreeMap::new(),
        };
        let account = format!("name={name}&email={name}%40example.org&password=correct+horse+battery");
        person.form("/signup", &account).await?;
        person.form("/team", &format!("name={name}")).await?;
        Ok(person)
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            if let Some((name, rest)) = line.split_once('=') {
                let value = rest.split(';').next().unwrap_or_default();
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let pairs: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.http
            .request(method, format!("{}{path}", self.address))
            .header(COOKIE, pairs.join("; "))
    }

    async fn token(&mut self, page: &str) -> anyhow::Result<String> {
        let answer = self
            .request(Method::GET, page)
            .header("accept", "text/html")
            .send()
            .await?;
        self.keep(&answer.headers().clone());
        let text = answer.text().await?;
        let value = text
            .split("name=\"csrf\"")
            .nth(1)
            .and_then(|after| after.split('"').nth(1));
        Ok(value.with_context(|| format!("no form on {page}"))?.to_owned())
    }

    async fn form(&mut self, page: &str, fields: &str) -> anyhow::Result<()> {
        let token = self.token(page).await?;
        let request = self.request(Method::POST, page).header("accept", "text/html");
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{fields}&csrf={token}"));
        let answer = request.send().await?;
        ensure!(answer.status() == 303, "{page} answered {}", answer.status());
        self.keep(&answer.headers().clone());
        Ok(())
    }

    /// A request as a script of a page makes it.
    ///
    /// # Errors
    /// The page with the form token did not come.
    pub async fn script(&mut self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let token = self.token("/team").await?;
        Ok(self.request(method, path).header("x-csrf-token", token))
    }

    /// Posts JSON and reads JSON.
    ///
    /// # Errors
    /// The answer is no success.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.script(Method::POST, path).await?.json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
