<?php
// phpseclib: goes on with an upload and a download, and appends: HOST PORT USER PASSWORD DIRECTORY FOLDER.
require 'phpseclib3/autoload.php';

use phpseclib3\Net\SFTP;

[, $host, $port, $user, $password, $directory, $folder] = $argv;

function done($truth, $what)
{
    if ($truth === false) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

$sftp = new SFTP($host, (int) $port);
done($sftp->login($user, $password), 'login');
$there = "$directory/file";
done($sftp->put($there, "$folder/half", SFTP::SOURCE_LOCAL_FILE), 'put');
// RESUME writes from the remote size on; where to begin in the local file is another argument.
$resumed = $sftp->put($there, "$folder/whole", SFTP::SOURCE_LOCAL_FILE | SFTP::RESUME, -1, filesize("$folder/half"));
done($resumed, 'put with RESUME: ' . $sftp->getLastSFTPError());
$appended = $sftp->put($there, "$folder/more", SFTP::SOURCE_LOCAL_FILE | SFTP::RESUME);
done($appended, 'append: ' . $sftp->getLastSFTPError());
$begun = filesize("$folder/back");
$rest = $sftp->get($there, false, $begun);
done($rest, 'get from an offset');
file_put_contents("$folder/back", $rest, FILE_APPEND);
