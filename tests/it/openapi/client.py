"""Sends a mail with the client that openapi-python-client made from openapi.json, and asks what became of it."""

import sys

folder, url, token = sys.argv[1:]
sys.path.insert(0, folder)

from postroom_client import AuthenticatedClient
from postroom_client.api.mailing import mailing_send_mail
from postroom_client.api.mails import mails_show
from postroom_client.models import MailRequest, MailUser

client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)
user = MailUser(identifier="ann")
user["voucher"] = "TEA-10"
request = MailRequest(brand_id="tea", template_id="welcome", user=user)
answer = mailing_send_mail.sync(client=client, body=request, idempotency_key="python-1")
mail = answer.data["ann"].transaction_id
story = mails_show.sync(mail, client=client)
assert story.id == mail and story.recipient == "ann@example.net", story
print(mail)
