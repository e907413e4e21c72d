#!/usr/bin/env bash
# Does all steps in Microsoft Entra ID at once, with Azure CLI (az), and prints what to paste into the
# form. Run it as an administrator of your directory, for example in Azure Cloud Shell. It makes a new
# application each time and changes nothing that is there.
#
#   bash setup.sh                                   with the name below
#   APPLICATION_NAME="Mail sync" bash setup.sh      with another
set -euo pipefail

name=${APPLICATION_NAME:-"Mail, contacts and calendar sync"}
# Microsoft Graph, and the application permissions that are needed there.
graph=00000003-0000-0000-c000-000000000000
permissions="Contacts.ReadWrite Calendars.ReadWrite Mail.Send"

command -v az >/dev/null || { echo "Azure CLI (az) is missing: use Azure Cloud Shell, or install it" >&2; exit 1; }
tenant=$(az account show --query tenantId --output tsv 2>/dev/null) || {
    echo "Sign in first: az login --allow-no-subscriptions" >&2
    exit 1
}

echo "Registering the application \"$name\" ..." >&2
application=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
az ad sp create --id "$application" --output none

for permission in $permissions; do
    # Looked up by name, so that no number here can be a wrong one.
    role=$(az ad sp show --id "$graph" \
        --query "appRoles[?value=='$permission'].id | [0]" --output tsv)
    [ -n "$role" ] || { echo "Microsoft Graph has no permission $permission" >&2; exit 1; }
    az ad app permission add --id "$application" --api "$graph" \
        --api-permissions "$role=Role" --only-show-errors --output none
done

echo "Granting admin consent (a new application takes a moment to be known) ..." >&2
granted=no
for _ in 1 2 3 4 5 6; do
    sleep 10
    if az ad app permission admin-consent --id "$application" --only-show-errors; then
        granted=yes
        break
    fi
done
[ "$granted" = yes ] || echo "Consent was not granted: do this step by hand, in the guide" >&2

echo "Making a client secret ..." >&2
end=$(date -u -d '+24 months' +%Y-%m-%d 2>/dev/null || date -u -v+24m +%Y-%m-%d)
secret=$(az ad app credential reset --id "$application" --append --display-name "$name" \
    --end-date "$end" --query password --output tsv --only-show-errors)

cat <<PASTE

Paste this into the form:

  Directory (tenant) ID     $tenant
  Application (client) ID   $application
  Client secret             $secret
  End date of the secret    $end

Then clear this window: the secret is shown nowhere else.
PASTE
