//! A browser without a window: keeps cookies, follows nothing, says where its requests come from.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// See the module. Its fields are open so that tests can misbehave.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    address: String,
    /// The jar: name to value.
    pub cookies: BTreeMap<String, String>,
    /// Sent as `Accept-Language`.
    pub language: &'static str,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.header("location")
    }

    /// The form token in the page.
    pub fn csrf(&self) -> String {
        let after = self
            .text
            .split("name=\"csrf\"")
            .nth(1)
            .unwrap_or_else(|| panic!("no form token in {}", self.text));
        let value = after.split('"').nth(1).unwrap();
        assert!(value.len() > 40, "{value}");
        value.to_owned()
    }

    /// `Set-Cookie` of one cookie.
    pub fn set_cookie(&self, name: &str) -> Option<&str> {
        let lines = self
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap());
        lines.into_iter().find(|line| line.starts_with(&format!("{name}=")))
    }
}

impl Browser {
    /// With an empty jar.
    pub fn new(address: &str) -> Browser {
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Browser {
            client,
            address: address.to_owned(),
            cookies: BTreeMap::new(),
            language: "en",
        }
    }

    /// A request as a page of the application would start it, without a form token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.address))
            .header("accept-language", self.language)
            .header("sec-fetch-site", "same-origin");
        if !self.cookies.is_empty() {
            let jar: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, jar.join("; "));
        }
        request
    }

    /// Sends a request and keeps the cookies of the answer.
    pub async fn send(&mut self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for line in headers.get_all(SET_COOKIE) {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap_or_default();
            if value.is_empty() || rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Answer {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    /// Opens a page.
    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self
            .request(Method::GET, path)
            .header("accept", "text/html,application/xhtml+xml");
        self.send(request).await
    }

    /// Asks for JSON.
    pub async fn get_json(&mut self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).header("accept", "application/json");
        self.send(request).await
    }

    /// Opens `page`, takes its form token, and posts `fields` to `action`.
    pub async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token(page).await;
        self.post_form(action, &[fields, &[("csrf", &token)]].concat()).await
    }

    /// Posts exactly these fields.
    pub async fn post_form(&mut self, action: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::POST, action).header("accept", "text/html");
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encode(fields));
        self.send(request).await
    }

    /// A form token from a page.
    pub async fn token(&mut self, page: &str) -> String {
        let answer = self.get(page).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.csrf()
    }

    /// A request of a script, with the form token in its header.
    pub async fn script(&mut self, method: Method, path: &str) -> RequestBuilder {
        let token = self.token("/team").await;
        self.request(method, path)
            .header("x-csrf-token", token)
            .header("accept", "application/json")
    }

    /// Posts JSON as a script of a page does.
    pub async fn post_json(&mut self, path: &str, body: &Value) -> Answer {
        let request = self.script(Method::POST, path).await.json(body);
        self.send(request).await
    }

    /// Fills in the sign-up form.
    pub async fn sign_up(&mut self, name: &str, email: &str, password: &str) -> Answer {
        self.submit(
            "/signup",
            "/signup",
            &[("name", name), ("email", email), ("password", password)],
        )
        .await
    }

    /// Fills in the login form.
    pub async fn log_in(&mut self, email: &str, password: &str) -> Answer {
        self.submit("/login", "/login", &[("email", email), ("password", password)])
            .await
    }

    /// Presses the logout button.
    pub async fn log_out(&mut self) -> Answer {
        self.submit("/team", "/logout", &[]).await
    }

    /// Does the application know who this is?
    pub async fn logged_in(&mut self) -> bool {
        self.get("/team").await.status == 200
    }
}

/// `application/x-www-form-urlencoded`.
fn encode(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = fields
        .iter()
        .map(|field| assay_web::controllers::visit::with_query("", &[*field]))
        .collect();
    pairs
        .iter()
        .map(|pair| pair.trim_start_matches('?'))
        .collect::<Vec<_>>()
        .join("&")
}
