//! A raw websocket client that says and hears what a relay's clients do, for the tests that look at single messages.

use fedai_protocol::VerifiedEvent;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::in_time;

pub(crate) struct Talk(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Talk {
    pub(crate) async fn with(url: &str) -> Self {
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> String {
        loop {
            if let Message::Text(text) = in_time("answer", self.0.next()).await.unwrap().unwrap() {
                return text.to_string();
            }
        }
    }

    /// What the `OK` to the event says after its id.
    pub(crate) async fn publish(&mut self, event: &VerifiedEvent) -> String {
        self.say(format!("[\"EVENT\",{}]", event.to_json())).await;
        loop {
            let text = self.hear().await;
            if let Some(rest) = text.strip_prefix(&format!("[\"OK\",\"{}\",", event.id())) {
                return rest.trim_end_matches(']').to_owned();
            }
        }
    }
}
