//! The little SOAP that Exchange Web Services need: envelopes written, replies read as a stream.

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};

/// The most elements inside one another that are read.
const DEEPEST: usize = 32;

/// An envelope around `operation` for the mailbox that the application acts for ("How to identify the
/// account to impersonate").
pub(super) fn envelope(mailbox: &str, operation: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Header><t:RequestServerVersion Version="Exchange2016"/><t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></s:Header><s:Body>{operation}</s:Body></s:Envelope>"#,
        escape(mailbox)
    )
}

/// Finds at most one item of a folder, by id alone ("FindItem operation").
pub(super) fn find_item(folder: &str) -> String {
    format!(
        r#"<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="1" Offset="0" BasePoint="Beginning"/><m:ParentFolderIds><t:DistinguishedFolderId Id="{}"/></m:ParentFolderIds></m:FindItem>"#,
        escape(folder)
    )
}

/// Sends a message and keeps no copy ("CreateItem operation").
pub(super) fn send_message(to: &str, subject: &str, text: &str) -> String {
    format!(
        r#"<m:CreateItem MessageDisposition="SendOnly"><m:Items><t:Message><t:Subject>{}</t:Subject><t:Body BodyType="Text">{}</t:Body><t:ToRecipients><t:Mailbox><t:EmailAddress>{}</t:EmailAddress></t:Mailbox></t:ToRecipients></t:Message></m:Items></m:CreateItem>"#,
        escape(subject),
        escape(text),
        escape(to)
    )
}

/// What a reply says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SoapReply {
    /// The first `ResponseCode`, or of a fault without one its `faultcode` without the prefix.
    pub code: Option<String>,
    /// For how many milliseconds the server asks to be left alone.
    pub back_off_millis: Option<u64>,
}

/// Reads a reply; `None` if it is not an envelope of SOAP. Where an element stands does not matter, so
/// that replies of other versions are read as well.
pub(super) fn read(body: &[u8]) -> Option<SoapReply> {
    let mut reader = Reader::from_str(
        std::str::from_utf8(body)
            .ok()?
            .trim_start_matches('\u{feff}'),
    );
    let (mut reply, mut fault_code) = (SoapReply::default(), None);
    let mut is_envelope = false;
    let mut inside: Vec<Kind> = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if inside.is_empty() {
                    is_envelope = start.local_name().as_ref() == "Envelope";
                }
                inside.push(Kind::of(&start));
                if inside.len() > DEEPEST {
                    return None;
                }
            }
            Event::End(_) => {
                inside.pop();
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                let text = text.trim();
                match inside.last() {
                    Some(Kind::ResponseCode) if reply.code.is_none() => {
                        reply.code = Some(text.to_owned());
                    }
                    Some(Kind::FaultCode) => {
                        let code = text.rsplit(':').next().unwrap_or(text);
                        fault_code = Some(code.to_owned());
                    }
                    Some(Kind::BackOff) => reply.back_off_millis = text.parse().ok(),
                    _ => {}
                }
            }
            // Entities of its own are what no provider needs and an attacker would like.
            Event::DocType(_) => return None,
            Event::Eof => break,
            _ => {}
        }
    }
    reply.code = reply.code.or(fault_code);
    (is_envelope && inside.is_empty()).then_some(reply)
}

enum Kind {
    ResponseCode,
    FaultCode,
    BackOff,
    Other,
}

impl Kind {
    fn of(start: &BytesStart<'_>) -> Self {
        match start.local_name().as_ref() {
            "ResponseCode" => Self::ResponseCode,
            "faultcode" => Self::FaultCode,
            "Value" => {
                let name = start.try_get_attribute("Name").ok().flatten();
                match name.is_some_and(|name| name.value == "BackOffMilliseconds") {
                    true => Self::BackOff,
                    false => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_typed_is_escaped() {
        let text = envelope(
            "a@b.example</t:X>&\"",
            &send_message("<x>", "&", "</t:Body>"),
        );
        assert!(!text.contains("</t:X>") && !text.contains("<x>"));
        assert!(text.contains("&lt;x&gt;") && text.contains("&amp;"));
        // What was written can be read.
        assert_eq!(read(text.as_bytes()), Some(SoapReply::default()));
    }

    #[test]
    fn replies_and_faults_are_read() {
        let fault = r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:ErrorImpersonateUserDenied</faultcode><faultstring xml:lang="en-US">No.</faultstring><detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">ErrorServerBusy</e:ResponseCode><t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><t:Value Name="Other">1</t:Value><t:Value Name="BackOffMilliseconds">4200</t:Value></t:MessageXml></detail></s:Fault></s:Body></s:Envelope>"#;
        let read_fault = read(fault.as_bytes()).unwrap();
        assert_eq!(read_fault.code.as_deref(), Some("ErrorServerBusy"));
        assert_eq!(read_fault.back_off_millis, Some(4200));
        let bare =
            "<e:Envelope xmlns:e='x'><faultcode>a:ErrorAccessDenied</faultcode></e:Envelope>";
        assert_eq!(
            read(bare.as_bytes()).unwrap().code.as_deref(),
            Some("ErrorAccessDenied")
        );
        let good = "\u{feff}<?xml version=\"1.0\"?><s:Envelope xmlns:s='x'><s:Body><m:ResponseCode>NoError</m:ResponseCode><m:ResponseCode>Later</m:ResponseCode></s:Body></s:Envelope>";
        assert_eq!(
            read(good.as_bytes()).unwrap().code.as_deref(),
            Some("NoError")
        );
    }

    #[test]
    fn what_is_not_soap_says_nothing() {
        let deep = "<a>".repeat(100);
        for body in [
            "",
            "Too Many Requests",
            "{}",
            "<html><body>403</body></html>",
            "<Envelope><ResponseCode>NoError</ResponseCode>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope></Envelope>",
            &deep,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        assert_eq!(read(&[0xff, 0xfe, 0]), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(body: Vec<u8>, text in "(<[/!?]?[a-z:]{0,8}[ />=\"&;a-z]{0,9}>?|[a-z&;]{0,5}){0,20}") {
            let _ = read(&body);
            let _ = read(text.as_bytes());
            let _ = read(format!("<Envelope>{text}</Envelope>").as_bytes());
        }

        #[test]
        fn nothing_that_is_typed_leaves_its_element(typed in ".{0,60}") {
            let text = envelope(&typed, &send_message(&typed, &typed, &typed));
            let before = envelope("", &send_message("", "", ""));
            let tags = |text: &str| text.matches('<').count();
            proptest::prop_assert_eq!(tags(&text), tags(&before));
        }
    }
}
