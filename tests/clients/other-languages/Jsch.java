import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;

/** Resumes an upload and a download, and appends: HOST PORT USER PASSWORD DIRECTORY FOLDER. */
public class Jsch {
    public static void main(String[] arguments) throws Exception {
        Session session = new JSch().getSession(arguments[2], arguments[0], Integer.parseInt(arguments[1]));
        session.setPassword(arguments[3]);
        session.setConfig("StrictHostKeyChecking", "no");
        session.connect(30_000);
        ChannelSftp sftp = (ChannelSftp) session.openChannel("sftp");
        sftp.connect(30_000);
        String there = arguments[4] + "/file", folder = arguments[5];
        sftp.put(folder + "/half", there);
        sftp.put(folder + "/whole", there, ChannelSftp.RESUME);
        sftp.put(folder + "/more", there, ChannelSftp.APPEND);
        // The beginning is there already.
        sftp.get(there, folder + "/back", null, ChannelSftp.RESUME);
        sftp.exit();
        session.disconnect();
    }
}
