//! Forms that the browser sealed.

use super::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hpke::{
    Deserializable as _, Kem as _, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::DhP256HkdfSha256,
    rand_core::{CryptoRng, Error, RngCore},
    single_shot_seal,
};

struct TestRandom;

impl RngCore for TestRandom {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        SystemRandom::new().fill(out).unwrap();
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for TestRandom {}

/// As `form.mjs` does, from what stands in the page.
fn seal_for(page: &str, form: &str) -> String {
    let data = |name: &str| {
        let rest = page.split(&format!("data-{name}=\"")).nth(1).unwrap();
        URL_SAFE_NO_PAD
            .decode(rest.split('"').next().unwrap())
            .unwrap()
    };
    let key = <DhP256HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&data("key")).unwrap();
    let (enc, sealed) = single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256, _>(
        &OpModeS::Base,
        &key,
        &data("info"),
        form.as_bytes(),
        &data("aad"),
        &mut TestRandom,
    )
    .unwrap();
    let whole = [enc.to_bytes().as_slice(), &sealed].concat();
    format!("sealed={}", URL_SAFE_NO_PAD.encode(whole))
}

#[tokio::test]
async fn a_sealed_form_is_the_same_form_and_good_for_its_own_link_alone() {
    assert_eq!(DhP256HkdfSha256::KEM_ID, 0x10);
    let site = Site::new(CredentialKind::Microsoft365);
    let page = site.get(&path("")).await;
    let sealed = seal_for(&page.text, &filled("canary%7Esecret%7Evalue"));
    assert_eq!(
        site.post(&path(""), sealed.clone()).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(site.done().len(), 1);
    assert!(site.done()[0].contains(SECRET) && site.done()[0].ends_with("sealed=true"));
    // Another client's link; a changed byte; cut short.
    let stolen = site.post(&format!("/i/{OTHER}"), sealed.clone()).await;
    assert_eq!(stolen.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(stolen.text.contains("sealed for another page"));
    let mut changed = sealed.clone();
    changed.replace_range(200..201, if &sealed[200..201] == "A" { "B" } else { "A" });
    assert_eq!(
        site.post(&path(""), changed).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        site.post(&path(""), sealed[..60].to_owned()).await.status,
        StatusCode::BAD_REQUEST
    );
    // With something beside it.
    assert_eq!(
        site.post(&path(""), format!("{sealed}&tenant_id=x"))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(site.done().len(), 1);
    // What is inside is read as strictly as what is not sealed.
    for inside in ["canary=1", "client_secret=%ff"] {
        let sealed = seal_for(&page.text, inside);
        assert_eq!(
            site.post(&path(""), sealed).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    let sealed = seal_for(&page.text, "");
    let empty = site.post(&path(""), sealed).await;
    assert!(empty.text.contains("The form is empty"));
    assert_eq!(site.done().len(), 1);
}
