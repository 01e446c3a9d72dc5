//! A catalog of a few lines, in memory, which does what it is told to go wrong.

use crate::transport::{Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It never gets there.
    NotSent,
    /// It gets there, and is not carried out.
    Lost,
    /// It is carried out, and its answer is lost.
    AnswerLost,
    /// This is answered in place of carrying it out.
    Status(u16, &'static str),
    /// It is carried out, and this is answered.
    AnswersAfter(u16, &'static str),
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) config: Json,
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) tables: BTreeMap<String, Json>,
    /// Of the requests to come that commit to a table, and of all others.
    pub(crate) commit_faults: VecDeque<Fault>,
    pub(crate) other_faults: VecDeque<Fault>,
    /// Method, path and query, header `authorization`, header `idempotency-key`.
    pub(crate) seen: Vec<[String; 4]>,
    /// Where tables are put.
    pub(crate) warehouse: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ModelCatalog(pub(crate) Arc<Mutex<Model>>);

impl ModelCatalog {
    pub(crate) fn new() -> Self {
        let model = Model { config: json!({"defaults": {}, "overrides": {}}), warehouse: "s3://lake/warehouse".into(), ..Model::default() };
        Self(Arc::new(Mutex::new(model)))
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// The snapshots of `main` from the newest on: the commit ids in their summaries.
    pub(crate) fn history(&self, table: &str) -> Vec<String> {
        self.with(|model| {
            let table = &model.tables[table];
            let mut found = Vec::new();
            let mut next = table["refs"]["main"]["snapshot-id"].as_i64();
            while let Some(snapshot) =
                table["snapshots"].as_array().unwrap().iter().find(|it| it["snapshot-id"].as_i64() == next && next.is_some())
            {
                found.push(snapshot["summary"][crate::COMMIT_ID].as_str().unwrap_or_default().to_owned());
                next = snapshot["parent-snapshot-id"].as_i64();
            }
            found
        })
    }
}

impl Model {
    fn carried_out(&mut self, request: &Request<Bytes>) -> (u16, Json) {
        let body: Json = serde_json::from_slice(request.body()).unwrap_or_default();
        let path = request.uri().path().split_once("v1/").map_or("", |(_, path)| path).to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        let exists =
            |what: &str| (409, json!({"error": {"message": format!("{what} is there"), "type": "AlreadyExistsException", "code": 409}}));
        let missing = |what: &str| (404, json!({"error": {"message": format!("no {what}"), "type": "NoSuchException", "code": 404}}));
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["config"]) => (200, self.config.clone()),
            (&Method::GET, ["namespaces", name]) => match self.namespaces.contains(*name) {
                true => (200, json!({"namespace": [name]})),
                false => missing("namespace"),
            },
            (&Method::POST, ["namespaces"]) => {
                let levels: Vec<&str> = body["namespace"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
                match self.namespaces.insert(levels.join("%1F")) {
                    true => (200, body),
                    false => exists("namespace"),
                }
            }
            (&Method::GET, ["namespaces", _, "tables", name]) => match self.tables.get(*name) {
                Some(table) => (200, json!({"metadata": table, "metadata-location": "s3://elsewhere/v.json"})),
                None => missing("table"),
            },
            (&Method::POST, ["namespaces", space, "tables"]) => {
                let name = body["name"].as_str().unwrap().to_owned();
                if self.tables.contains_key(&name) {
                    return exists("table");
                }
                let location = body["location"].as_str().map_or_else(|| format!("{}/{space}/{name}", self.warehouse), str::to_owned);
                let last = body["schema"].to_string().matches("\"id\":").count();
                let table = json!({
                    "format-version": 2, "table-uuid": format!("uuid-of-{name}"), "location": location, "last-column-id": last, "last-updated-ms": 1,
                    "last-sequence-number": 0, "current-schema-id": 0, "schemas": [body["schema"]], "default-spec-id": 0,
                    "partition-specs": [body["partition-spec"]], "current-snapshot-id": null, "snapshots": [], "refs": {},
                });
                self.tables.insert(name, table.clone());
                (200, json!({"metadata": table}))
            }
            (&Method::POST, ["namespaces", _, "tables", name]) => match self.tables.get_mut(*name) {
                Some(table) => commit(table, &body),
                None => missing("table"),
            },
            _ => (400, json!({})),
        }
    }
}

fn commit(table: &mut Json, body: &Json) -> (u16, Json) {
    for required in body["requirements"].as_array().unwrap() {
        let holds = match required["type"].as_str().unwrap() {
            "assert-table-uuid" => required["uuid"] == table["table-uuid"],
            "assert-ref-snapshot-id" => {
                assert!(required.as_object().unwrap().contains_key("snapshot-id"), "{required}");
                required["snapshot-id"] == table["refs"]["main"]["snapshot-id"]
            }
            "assert-current-schema-id" => required["current-schema-id"] == table["current-schema-id"],
            "assert-last-assigned-field-id" => required["last-assigned-field-id"] == table["last-column-id"],
            other => panic!("{other}"),
        };
        if !holds {
            return (
                409,
                json!({"error": {"message": format!("Requirement failed: {required}"), "type": "CommitFailedException", "code": 409}}),
            );
        }
    }
    for update in body["updates"].as_array().unwrap() {
        match update["action"].as_str().unwrap() {
            "add-snapshot" => {
                let snapshot = update["snapshot"].clone();
                let ids = table["snapshots"].as_array().unwrap().iter().map(|it| it["snapshot-id"].clone());
                assert!(!ids.collect::<Vec<_>>().contains(&snapshot["snapshot-id"]), "the id is new");
                assert!(snapshot["sequence-number"].as_i64() > table["last-sequence-number"].as_i64());
                table["last-sequence-number"] = snapshot["sequence-number"].clone();
                table["last-updated-ms"] = snapshot["timestamp-ms"].clone();
                table["snapshots"].as_array_mut().unwrap().push(snapshot);
            }
            "set-snapshot-ref" => table["refs"]["main"] = json!({"snapshot-id": update["snapshot-id"], "type": update["type"]}),
            "add-schema" => {
                let id = table["schemas"].as_array().unwrap().len();
                let mut schema = update["schema"].clone();
                schema["schema-id"] = json!(id);
                table["schemas"].as_array_mut().unwrap().push(schema);
                table["last-column-id"] = update["last-column-id"].clone();
            }
            "set-current-schema" => table["current-schema-id"] = json!(table["schemas"].as_array().unwrap().len() - 1),
            other => panic!("{other}"),
        }
    }
    (200, json!({"metadata": table}))
}

#[async_trait]
impl Transport for ModelCatalog {
    async fn send(&self, request: Request<Bytes>, most_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        // Others get their turn.
        tokio::task::yield_now().await;
        self.with(|model| {
            let header = |name: &str| request.headers().get(name).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
            let path = request.uri().path_and_query().unwrap().as_str();
            model.seen.push([request.method().to_string(), path.to_owned(), header("authorization"), header("idempotency-key")]);
            let is_commit = request.method() == Method::POST && path.split('/').count() == 6;
            let faults = if is_commit { &mut model.commit_faults } else { &mut model.other_faults };
            let answer = |status: u16, body: Bytes| match body.len() > most_bytes {
                true => Err(TransportError::TooLarge(most_bytes)),
                false => Ok(Response::builder().status(status).body(body).unwrap()),
            };
            match faults.pop_front().unwrap_or(Fault::None) {
                Fault::None => {
                    let (status, body) = model.carried_out(&request);
                    answer(status, body.to_string().into())
                }
                Fault::NotSent => Err(TransportError::NotSent("refused".into())),
                Fault::Lost => Err(TransportError::NoAnswer("reset".into())),
                Fault::AnswerLost => {
                    model.carried_out(&request);
                    Err(TransportError::NoAnswer("reset".into()))
                }
                Fault::Status(status, body) => answer(status, Bytes::from_static(body.as_bytes())),
                Fault::AnswersAfter(status, body) => {
                    model.carried_out(&request);
                    answer(status, Bytes::from_static(body.as_bytes()))
                }
            }
        })
    }
}
