# Does all steps in Microsoft Entra ID at once, with the PowerShell module Microsoft.Graph, and prints
# what to paste into the form. Run it as an administrator of your directory. It makes a new application
# each time and changes nothing that is there.
#
#   Install-Module Microsoft.Graph -Scope CurrentUser     once
#   ./setup.ps1
#   ./setup.ps1 -Name "Mail sync"                         with another name
param([string]$Name = "Mail, contacts and calendar sync")
$ErrorActionPreference = "Stop"

# Microsoft Graph, and the application permissions that are needed there.
$graphId = "00000003-0000-0000-c000-000000000000"
$permissions = "Contacts.ReadWrite", "Calendars.ReadWrite", "Mail.Send"

Connect-MgGraph -NoWelcome -Scopes "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"
$tenant = (Get-MgContext).TenantId

# Looked up by name, so that no number here can be a wrong one.
$graph = Get-MgServicePrincipal -Filter "appId eq '$graphId'"
$roles = foreach ($permission in $permissions) {
    $role = $graph.AppRoles | Where-Object { $_.Value -eq $permission }
    if (-not $role) { throw "Microsoft Graph has no permission $permission" }
    $role
}

Write-Host "Registering the application `"$Name`" ..."
$access = @{
    ResourceAppId  = $graphId
    ResourceAccess = @($roles | ForEach-Object { @{ Id = $_.Id; Type = "Role" } })
}
$application = New-MgApplication -DisplayName $Name -SignInAudience "AzureADMyOrg" `
    -RequiredResourceAccess @($access)
$principal = New-MgServicePrincipal -AppId $application.AppId

Write-Host "Granting admin consent ..."
foreach ($role in $roles) {
    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id `
        -PrincipalId $principal.Id -ResourceId $graph.Id -AppRoleId $role.Id | Out-Null
}

Write-Host "Making a client secret ..."
$end = (Get-Date).ToUniversalTime().AddMonths(24)
$secret = Add-MgApplicationPassword -ApplicationId $application.Id `
    -PasswordCredential @{ DisplayName = $Name; EndDateTime = $end }

Write-Host ""
Write-Host "Paste this into the form:"
Write-Host ""
Write-Host "  Directory (tenant) ID     $tenant"
Write-Host "  Application (client) ID   $($application.AppId)"
Write-Host "  Client secret             $($secret.SecretText)"
Write-Host "  End date of the secret    $($secret.EndDateTime.ToString('yyyy-MM-dd'))"
Write-Host ""
Write-Host "Then clear this window: the secret is shown nowhere else."
