//! Exchange Web Services, as far as a probe goes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Shared;
use super::answers::{Place, envelope, put, text};
use super::tokens::Audience;
use super::world::{MailboxState, Sent};

/// What a request asks for.
#[derive(Debug, Default)]
struct Request {
    /// The first element inside the body.
    operation: String,
    /// Whom the application acts for.
    act_for: String,
    /// The folder.
    folder: String,
    /// The message's addressee.
    to: String,
    /// The message's subject.
    subject: String,
}

pub(super) async fn serve(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let now = shared.clock.now();
    let mut world = shared.world();
    if let Some(answer) = world.called(Place::Ews) {
        return shared.forced(answer);
    }
    let Some(issued) = world.tokens.of(&headers, Audience::Exchange, now) else {
        return refuse(401, None);
    };
    let Some(tenant) = world.tenant(&issued.owner) else {
        return refuse(401, None);
    };
    let granted = tenant
        .application(&issued.subject)
        .is_some_and(|it| it.granted_in_exchange);
    if !granted {
        if issued.roles.is_empty() {
            return refuse(
                401,
                Some(
                    r#"2000008;reason="The token contains no permissions, or permissions can not be understood.";error_category="invalid_grant""#,
                ),
            );
        }
        if !issued.roles.iter().any(|role| role == "full_access_as_app") {
            return refuse(
                403,
                Some(
                    r#"2000008;reason="The token contains not enough scope to make this call.";error_category="invalid_token""#,
                ),
            );
        }
    }
    if !tenant.allows_ews(&issued.subject) {
        return refuse(403, None);
    }
    let Some(request) = Request::read(&body) else {
        return shared.fault("ErrorInvalidRequest", "The request is invalid.", None);
    };
    if request.act_for.is_empty() {
        let words = "The SMTP address of the mailbox must be given.";
        return shared.fault("ErrorMissingEmailAddress", words, None);
    }
    let anchor = headers.get("x-anchormailbox").map(|it| it.as_bytes());
    if anchor != Some(request.act_for.as_bytes()) {
        return text(503, "text/plain", String::new());
    }
    match tenant.mailbox(&request.act_for).map(|it| it.state) {
        Some(MailboxState::Licensed) => {}
        Some(MailboxState::Kiosk) => return refuse(403, None),
        Some(MailboxState::OutOfScope) => {
            let words = "The account does not have permission to impersonate the requested user.";
            return shared.fault("ErrorImpersonateUserDenied", words, None);
        }
        Some(MailboxState::WithoutMailbox | MailboxState::OnPremises) | None => {
            let words = "The SMTP address has no mailbox associated with it.";
            return shared.fault("ErrorNonExistentMailbox", words, None);
        }
    }
    let id = shared.id();
    match request.operation.as_str() {
        "GetFolder" => {
            let kind = match request.folder.as_str() {
                "contacts" => "ContactsFolder",
                "calendar" => "CalendarFolder",
                "inbox" | "msgfolderroot" | "root" => "Folder",
                _ => return shared.item_error("GetFolder", "ErrorFolderNotFound"),
            };
            let inside = format!(
                r#"<m:Folders><t:{kind}><t:FolderId Id="{id}" ChangeKey="AQ=="/></t:{kind}></m:Folders>"#
            );
            shared.soap(200, success("GetFolder", &inside))
        }
        "FindItem" if ["contacts", "calendar", "inbox"].contains(&request.folder.as_str()) => {
            let inside = r#"<m:RootFolder TotalItemsInView="0" IncludesLastItemInRange="true" IndexedPagingOffset="0"><t:Items/></m:RootFolder>"#;
            shared.soap(200, success("FindItem", inside))
        }
        "FindItem" => shared.item_error("FindItem", "ErrorFolderNotFound"),
        "CreateItem" => {
            world.sent.push(Sent {
                by: "ews".to_owned(),
                from: request.act_for,
                to: request.to,
                subject: request.subject,
            });
            shared.soap(200, success("CreateItem", "<m:Items/>"))
        }
        _ => shared.fault("ErrorInvalidRequest", "The request is invalid.", None),
    }
}

/// A refusal before anything is looked at.
fn refuse(status: u16, diagnosis: Option<&str>) -> Response<Body> {
    let mut response = text(status, "text/plain", String::new());
    if status == 401 {
        put(&mut response, "www-authenticate", "Bearer");
    }
    if let Some(diagnosis) = diagnosis {
        put(&mut response, "x-ms-diagnostics", diagnosis);
    }
    response
}

fn success(operation: &str, inside: &str) -> String {
    envelope(&format!(
        r#"<m:{operation}Response><m:ResponseMessages><m:{operation}ResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>{inside}</m:{operation}ResponseMessage></m:ResponseMessages></m:{operation}Response>"#
    ))
}

impl Request {
    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(body).ok()?);
        let mut request = Self::default();
        let mut inside: Vec<String> = Vec::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    request.opens(&start, &inside);
                    inside.push(start.local_name().as_ref().to_owned());
                }
                Event::Empty(start) => request.opens(&start, &inside),
                Event::End(_) => {
                    inside.pop();
                }
                Event::Text(text) => request.says(&text.xml10_content(), &inside),
                Event::GeneralRef(_) => {}
                Event::Eof => break,
                _ => {}
            }
        }
        Some(request)
    }

    fn opens(&mut self, start: &BytesStart<'_>, inside: &[String]) {
        let name = start.local_name();
        if inside.last().is_some_and(|it| it == "Body") && self.operation.is_empty() {
            name.as_ref().clone_into(&mut self.operation);
        }
        if name.as_ref() == "DistinguishedFolderId"
            && let Ok(Some(id)) = start.try_get_attribute("Id")
        {
            self.folder = id.value.into_owned();
        }
    }

    fn says(&mut self, text: &str, inside: &[String]) {
        let at = |name: &str| inside.last().is_some_and(|it| it == name);
        let within = |name: &str| inside.iter().any(|it| it == name);
        if within("ConnectingSID") {
            self.act_for.push_str(text.trim());
        } else if within("ToRecipients") && at("EmailAddress") {
            self.to.push_str(text.trim());
        } else if at("Subject") {
            self.subject.push_str(text);
        }
    }
}
