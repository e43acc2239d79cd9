//! Keys of principals, for the root principal.

use flotilla_api::{
    keys::{KeyList, NewKey, PrincipalName},
    route,
};
use http::{HeaderMap, Method};

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, whole},
    list::read,
};
use crate::transport::Lane;

impl Client {
    /// Makes a principal with a new key, which is told this once.
    ///
    /// # Durability
    /// Ok means: committed by the supernodes. Other servers take the key within seconds.
    ///
    /// # Errors
    /// See [`Error::kind`]; 409 `conflict` if the name is taken. [`Error::Indeterminate`]: the principal may be there with a key that
    /// nobody knows; revoke it and make it again.
    ///
    /// # Cancel safety
    /// A dropped call may have made the principal.
    pub async fn create_key(&self, name: &PrincipalName) -> Result<NewKey, Error> {
        self.run_json(&self.change(Method::POST, name), ANSWER_MAX_BYTES).await
    }

    /// Lists the principals.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn keys(&self) -> Result<KeyList, Error> {
        self.run_json(&read(route::KEYS.to_owned()), ANSWER_MAX_BYTES).await
    }

    /// Ends a principal: its key is refused at once where this is answered, and everywhere within seconds.
    ///
    /// # Errors
    /// See [`Error::kind`]; 404 if there is none, 409 `conflict` for root.
    ///
    /// # Cancel safety
    /// A dropped call may have ended the principal.
    pub async fn revoke_key(&self, name: &PrincipalName) -> Result<(), Error> {
        let content = Content::none(self.0.clock.clone());
        let call = self.change(Method::DELETE, name);
        self.run(&call, &content, |response| async move { whole(response, ANSWER_MAX_BYTES).await.map(drop) }).await
    }

    fn change(&self, method: Method, name: &PrincipalName) -> Call {
        let route = format!("{}/{name}", route::KEYS);
        Call { method, lane: Lane::Control, route, headers: HeaderMap::new(), key: Some(self.new_key()) }
    }
}
